"""What a picture's own header says of its bits and colours, where its reader does not pass it on."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from sana_wm.video.refusal import UnusablePixelsError

#: Boxes that hold what describes a picture lie in `meta`; more than this is none.
MAX_META_BYTES = 16 * 1024**2
BMP_FILE_HEADER_BYTES, BMP_V5_BYTES = 14, 124


@dataclass(frozen=True)
class CodePoints:
    """Colour by code points of ITU-T H.273: PNG's `cICP` and the `nclx` of HEIC and AVIF.

    Attributes:
        primaries: Code of the primaries.
        transfer: Code of the transfer function.
        full_range: Whether black is 0 and white the greatest value.
    """

    primaries: int
    transfer: int
    full_range: bool


@dataclass(frozen=True)
class Header:
    """What a header says.

    Attributes:
        bits: Per channel.
        code_points: Colour, where it is said by code points.
        is_turned: Whether the container turns or mirrors the picture (HEIC, AVIF).
        profile: An ICC profile that the reader does not pass on (BMP).
    """

    bits: int = 8
    code_points: CodePoints | None = None
    is_turned: bool = False
    profile: bytes | None = None


def read_png_header(file: IO[bytes]) -> Header:
    """Bit depth (`IHDR`) and code points (`cICP`) of a PNG; stops at its pixels.

    Source: W3C PNG specification, third edition.
    """
    file.seek(8)
    bits, code_points = 8, None
    while len(start := file.read(8)) == 8 and start[4:] not in (b"IDAT", b"IEND"):
        length, kind = int.from_bytes(start[:4]), start[4:]
        if kind == b"IHDR":
            bits = file.read(length)[8]
        elif kind == b"cICP" and length == 4:
            primaries, transfer, _, full_range = file.read(length)
            code_points = CodePoints(primaries, transfer, bool(full_range))
        else:
            file.seek(length, io.SEEK_CUR)
        file.seek(4, io.SEEK_CUR)
    return Header(bits, code_points)


def read_ppm_header(file: IO[bytes]) -> Header:
    """Bits per channel of a PPM or PGM, from its greatest value."""
    file.seek(0)
    words = re.sub(rb"#[^\n]*", b"", file.read(4096)).split(maxsplit=4)
    greatest = int(words[3]) if words[0] not in (b"P1", b"P4") else 1
    return Header(greatest.bit_length())


def read_bmp_header(file: IO[bytes]) -> Header:
    """The profile that a BMP of version 5 embeds.

    Source: BITMAPV5HEADER.

    Raises:
        UnusablePixelsError: It names another file as its profile.
    """
    file.seek(BMP_FILE_HEADER_BYTES)
    fields = file.read(BMP_V5_BYTES)
    if len(fields) < BMP_V5_BYTES or int.from_bytes(fields[:4], "little") < BMP_V5_BYTES:
        return Header()
    if (kind := fields[56:60]) == b"KNIL":
        raise UnusablePixelsError("a BMP whose colour profile is another file", "Save it as sRGB.")
    if kind != b"DEBM":
        return Header()
    file.seek(BMP_FILE_HEADER_BYTES + int.from_bytes(fields[112:116], "little"))
    return Header(profile=file.read(min(int.from_bytes(fields[116:120], "little"), MAX_META_BYTES)))


def read_boxes_header(file: IO[bytes]) -> Header:
    """Bits, code points and turning of the primary item of a HEIC or AVIF file.

    Source: ISO/IEC 23008-12 (`pitm`, `iprp`, `pixi`), ISO/IEC 14496-12 (`colr`).
    """
    file.seek(0)
    data = memoryview(_read_meta(file))[4:]
    boxes = dict(_boxes(data))
    primary = int.from_bytes(boxes["pitm"][4:])
    inside = dict(_boxes(boxes["iprp"]))
    properties = list(_boxes(inside["ipco"]))
    own = [properties[index - 1] for index in _associations(inside["ipma"], primary) if 0 < index <= len(properties)]
    bits, code_points = 8, None
    for kind, body in own:
        if kind == "pixi":
            bits = max(body[5 : 5 + body[4]])
        elif kind == "colr" and bytes(body[:4]) == b"nclx":
            primaries, transfer = int.from_bytes(body[4:6]), int.from_bytes(body[6:8])
            # Levels are brought to the full range by the decoder, with the matrix.
            code_points = CodePoints(primaries, transfer, full_range=True)
    return Header(bits, code_points, any(kind in ("irot", "imir") for kind, _ in own))


def _read_meta(file: IO[bytes]) -> bytes:
    while len(start := file.read(8)) == 8:
        size, kind = int.from_bytes(start[:4]), start[4:]
        read = 8
        if size == 1:
            size, read = int.from_bytes(file.read(8)), 16
        if size < read:
            break
        if kind == b"meta" and size <= MAX_META_BYTES:
            return file.read(size - read)
        file.seek(size - read, io.SEEK_CUR)
    raise ValueError("no description of the picture in it")


def _boxes(data: memoryview) -> Iterator[tuple[str, memoryview]]:
    while len(data) >= 8:
        size, kind, read = int.from_bytes(data[:4]), bytes(data[4:8]).decode("latin-1"), 8
        if size == 1:
            size, read = int.from_bytes(data[8:16]), 16
        size = size or len(data)
        if size < read:
            return
        yield kind, data[read:size]
        data = data[size:]


def _associations(body: memoryview, item: int) -> list[int]:
    """Indices, from 1, of the properties that `ipma` gives an item."""
    id_bytes = 4 if body[0] else 2
    index_bytes = 2 if body[3] & 1 else 1
    mask = (1 << (8 * index_bytes - 1)) - 1  # the highest bit says "essential"
    position = 8
    for _ in range(int.from_bytes(body[4:8])):
        owner, count = int.from_bytes(body[position : position + id_bytes]), body[position + id_bytes]
        position += id_bytes + 1
        end = position + count * index_bytes
        if owner == item:
            return [
                int.from_bytes(body[start : start + index_bytes]) & mask for start in range(position, end, index_bytes)
            ]
        position = end
    return []
