"""The header of a safetensors file, read without torch and without reading the weights.

Format: 8 bytes little-endian length, that many bytes of JSON (tensor name to dtype, shape and byte range in the data
part), then the data. Source: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sana_wm.errors import WeightsError
from sana_wm.weights.reading import REPAIR, open_plain, parse_json, unreadable

SAMPLES, SAMPLE_BYTES = 16, 65_536
#: The library itself takes 100 MB, which as Python objects can be gigabytes; the released headers have 0.2 MB.
MAX_HEADER_BYTES = 16 * 1024**2
MAX_SIZE, MAX_DIMENSIONS = 2**63, 64  # a product of more would take seconds
# The float8 types are readable but never loaded; see check.py for what is.
DTYPE_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"), 1),
}


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file: safetensors' dtype name, its shape, and where its bytes lie from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    start_bytes: int
    end_bytes: int


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself."""

    path: Path
    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]
    file_bytes: int


def read_header(path: Path) -> Header:
    """Read and verify a header: that the file is as long as it says, and every tensor as long as its shape.

    Raises:
        WeightsError: The file is missing, truncated or not a safetensors file; the tensor is named where known.
    """
    raw, file_bytes = _read_raw_header(path)
    try:
        content: object = parse_json(raw)
    except ValueError as error:
        raise _damaged(path, f"its header is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise _damaged(path, "its header is not a JSON object")
    entries = cast("dict[str, Any]", content)
    metadata = _metadata(path, entries.pop("__metadata__", {}))
    data_start = 8 + len(raw)
    tensors = {name: _entry(path, name, entry, data_start) for name, entry in entries.items()}
    _verify_extent(path, tensors, data_start, file_bytes)
    return Header(path, tensors, metadata, file_bytes)


def identity_digest(path: Path) -> str:
    """SHA-256 of the header, the file size and 16 samples of the numbers: a cheap identity of a weight file.

    Other weights of the same shapes, a fine-tune say, differ in the samples; a flipped bit between them does not show.

    Raises:
        WeightsError: The file is missing or has no header.
    """
    raw, file_bytes = _read_raw_header(path)
    digest = hashlib.sha256(struct.pack("<Q", file_bytes) + raw)
    with open_plain(path, "the weight file") as file:
        for sample in range(SAMPLES):
            file.seek(8 + len(raw) + sample * (file_bytes - 8 - len(raw)) // SAMPLES)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _read_raw_header(path: Path) -> tuple[bytes, int]:
    with open_plain(path, "the weight file") as file:
        try:
            file_bytes = os.fstat(file.fileno()).st_size
            prefix = file.read(8)
            if len(prefix) < 8:
                raise _damaged(path, f"it has {file_bytes} bytes, too few for a header")
            (length,) = struct.unpack("<Q", prefix)
            if length > min(MAX_HEADER_BYTES, file_bytes - 8):
                raise _damaged(path, f"its header claims {length} bytes, the file has {file_bytes}")
            return file.read(length), file_bytes
        except OSError as error:
            raise unreadable(path, error, "the weight file") from error


def _metadata(path: Path, content: Any) -> dict[str, str]:
    entries = cast("dict[str, Any]", content) if isinstance(content, dict) else None
    if entries is None or not all(isinstance(value, str) for value in entries.values()):
        raise _damaged(path, "the metadata of its header is not text by name")
    return entries


def _entry(path: Path, name: str, entry: Any, data_start: int) -> TensorEntry:
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        start, end = offsets = tuple(entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"the entry of tensor {name} cannot be read ({error!r})") from error
    # JSON also knows 1.5, true and 1e999, of which int() would make sizes, or an OverflowError.
    are_sizes = all(type(size) is int and 0 <= size < MAX_SIZE for size in (*shape, *offsets))
    if not are_sizes or len(shape) > MAX_DIMENSIONS or not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise _damaged(path, f"tensor {name} has dtype {dtype!r:.40}, shape {shape!r:.80} and bytes {offsets!r:.80}")
    if end - start != math.prod(shape) * DTYPE_BYTES[dtype]:
        raise _damaged(path, f"tensor {name} of dtype {dtype} and shape {shape!r:.80} has {end - start} bytes")
    return TensorEntry(dtype, shape, data_start + start, data_start + end)


def _verify_extent(path: Path, tensors: dict[str, TensorEntry], data_start: int, file_bytes: int) -> None:
    """Tensors must lie gapless one after the other and end with the file, as the format demands."""
    position, after = data_start, "the header"
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start_bytes, item[1].end_bytes)):
        if entry.start_bytes != position:
            raise _damaged(path, f"tensor {name} starts at byte {entry.start_bytes}, {after} ends at {position}")
        if entry.end_bytes > file_bytes:
            raise _damaged(path, f"it ends at byte {file_bytes}, inside tensor {name} ({entry.end_bytes})")
        position, after = entry.end_bytes, name
    if position != file_bytes:
        raise _damaged(path, f"it has {file_bytes} bytes, its tensors end at {position}")


def _damaged(path: Path, how: str) -> WeightsError:
    return WeightsError(f"the weight file {path} is damaged: {how}", next_step=REPAIR)
