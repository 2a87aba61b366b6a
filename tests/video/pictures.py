"""Pictures of every kind, made byte by byte where no library writes them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from sana_wm.video.colour import CODED_PRIMARIES
from sana_wm.video.icc import SRGB_CURVE, make_profile

pillow_heif.register_heif_opener()

PRIMARIES_P3 = CODED_PRIMARIES[12][1]

WIDTH, HEIGHT = 48, 32
#: A picture of every channel's whole range, (32, 48, 3).
PIXELS = np.stack(
    [
        np.tile(np.linspace(0, 255, WIDTH), (HEIGHT, 1)),
        np.tile(np.linspace(0, 255, HEIGHT)[:, None], (1, WIDTH)),
        np.tile(np.linspace(255, 0, WIDTH), (HEIGHT, 1)),
    ],
    axis=-1,
).astype(np.uint8)
IMAGE = Image.fromarray(PIXELS)
DEEP = PIXELS.astype(np.uint16) * 257


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """As Pillow writes it."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: np.ndarray = PIXELS, *chunks: bytes) -> bytes:
    """A PNG of 8 or 16 bits a channel, with more chunks before its pixels."""
    height, width, *channels = pixels.shape
    colour_type = {(): 0, (2,): 4, (3,): 2, (4,): 6}[tuple(channels)]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, colour_type, 0, 0, 0)
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def cicp(primaries: int, transfer: int, full_range: int = 1) -> bytes:
    """A PNG's colour by code points."""
    return chunk(b"cICP", bytes((primaries, transfer, 0, full_range)))


def gama(value: int) -> bytes:
    """A PNG's gamma times 100000."""
    return chunk(b"gAMA", struct.pack(">I", value))


def chrm(*values: int) -> bytes:
    """A PNG's chromaticities times 100000: white, red, green, blue."""
    return chunk(b"cHRM", struct.pack(">8I", *values))


def tiff(pixels: np.ndarray, **more: int) -> bytes:
    """A TIFF of one strip; `tNUMBER=value` are more tags, of LONG."""
    height, width, *channels = pixels.shape
    count = channels[0] if channels else 1
    bits = struct.pack(f"<{count}H", *[8 * pixels.itemsize] * count)
    tags = {256: width, 257: height, 259: 1, 262: 2 if count > 1 else 1, 277: count, 278: height, 279: pixels.nbytes}
    tags |= {int(name[1:]): value for name, value in more.items()}
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()}
    if count > 1:
        entries[258] = struct.pack("<HHII", 258, 3, count, start)
    else:
        entries[258] = struct.pack("<HHII", 258, 3, 1, 8 * pixels.itemsize)
    entries[273] = struct.pack("<HHII", 273, 4, 1, start + len(bits))
    directory = b"".join(entries[tag] for tag in sorted(entries))
    pixel_bytes = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + bits + pixel_bytes


def bmp_with_profile(profile: bytes, kind: bytes = b"DEBM") -> bytes:
    """A BMP of version 5."""
    rows = PIXELS[::-1, :, ::-1].tobytes()
    start = 14 + 124
    fields = struct.pack("<IiiHHIIiiII", 124, WIDTH, HEIGHT, 1, 24, 0, len(rows), 0, 0, 0, 0)
    fields += bytes(16) + kind + bytes(36 + 12 + 4) + struct.pack("<III", 124 + len(rows), len(profile), 0)
    return b"BM" + struct.pack("<IHHI", start + len(rows) + len(profile), 0, 0, start) + fields + rows + profile


def exif(colour_space: int | None = None, orientation: int = 1, interoperability: str | None = None) -> Image.Exif:
    """EXIF data as cameras write it."""
    data = Image.Exif()
    data[ExifTags.Base.Orientation] = orientation
    if colour_space is not None:
        data.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ColorSpace] = colour_space
    if interoperability is not None:
        data.get_ifd(ExifTags.IFD.Exif)[0xA005] = {1: interoperability}
    return data


def deep_heic(profile: bytes | None = None, **code_points: int) -> bytes:
    """A HEIC of 10 bits a channel."""
    file = io.BytesIO()
    deep = pillow_heif.from_bytes(mode="RGB;16", size=(WIDTH, HEIGHT), data=DEEP.tobytes())
    deep.save(file, quality=-1, chroma=444, **({} if profile is None else {"icc_profile": profile}), **code_points)
    return file.getvalue()


def with_text(count: int) -> bytes:
    """A PNG that carries `count` characters of text, as generators of pictures do with prompts."""
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", "x" * count, zip=True)
    info.add_text("workflow", "y" * count)
    return saved(IMAGE, "PNG", pnginfo=info)


def profile_of(model: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", space: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 2 of these tags."""
    table, body, offset = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += padded
    d50 = struct.pack(">3i", 63190, 65536, 54061)
    size = offset + len(body)
    head = struct.pack(">I4xI4s4s4s12x4s28x12s48x", size, 0x02400000, kind, model, space, b"acsp", d50)
    return head + table + body


WHITE = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)


def grey_profile(gamma: float) -> bytes:
    """A profile for grey of one gamma."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    return profile_of(b"GRAY", {b"wtpt": WHITE, b"kTRC": curve})


def cmyk_profile(lab_of: Callable[[np.ndarray], np.ndarray], grid: int = 9) -> bytes:
    """A printer's profile whose table holds `lab_of` inks (..., 4) in 0..1."""
    inks = np.stack(np.meshgrid(*[np.linspace(0, 1, grid)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    lightness, a, b = np.moveaxis(lab_of(inks), -1, 0)
    table = np.stack([lightness / 100 * 0xFF00, (a + 128) * 256, (b + 128) * 256], axis=-1).round().astype(">u2")
    identity = struct.pack(">9i", *(65536 if place in (0, 4, 8) else 0 for place in range(9)))
    straight = struct.pack(">2H", 0, 65535)
    lut = b"mft2\0\0\0\0" + bytes((4, 3, grid, 0)) + identity + struct.pack(">2H", 2, 2)
    lut += straight * 4 + table.tobytes() + straight * 3
    return profile_of(b"CMYK", {b"wtpt": WHITE, b"A2B0": lut, b"A2B1": lut}, b"prtr", b"Lab ")


#: BT.2100's PQ as profiles of version 4.4 name it; the rest of the profile says something else.
PQ_PROFILE = profile_of(b"RGB ", {b"cicp": b"cicp\0\0\0\0" + bytes((9, 16, 0, 1))})


def srgb_profile() -> bytes:
    """Little CMS's own."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def padded(profile: bytes, size: int) -> bytes:
    """A profile with bytes behind its last tag that do not compress away, as those of large tables."""
    noise = np.random.default_rng(0).integers(0, 256, size - len(profile), dtype=np.uint8).tobytes()
    return size.to_bytes(4, "big") + profile[4:] + noise


def from_p3(image: Image.Image) -> Image.Image:
    """Display P3 as sRGB, by Little CMS alone."""
    return ImageCms.profileToProfile(  # pyright: ignore[reportReturnType]
        image,
        ImageCms.ImageCmsProfile(io.BytesIO(make_profile(PRIMARIES_P3, SRGB_CURVE))),
        ImageCms.createProfile("sRGB"),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )


def heic_of_p3(image: Image.Image) -> bytes:
    """A HEIC that names its colours by code points alone."""
    return saved(image, "HEIF", quality=-1, chroma=444, color_primaries=12, transfer_characteristics=13)


def half_transparent(image: Image.Image) -> Image.Image:
    """With one side clearer than the other."""
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image
