"""The first frame: the one gate through which a picture's pixels come, and what was done to them in words.

What a file says about its pixels is honoured, or the picture is refused by name; what says nothing is sRGB, and not a
level of it changes.
"""

from __future__ import annotations

import stat
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import pillow_heif
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from sana_wm.errors import PictureError
from sana_wm.video.colour import Colour, read_colour
from sana_wm.video.file_kind import HEAD_BYTES, READERS, kind_of
from sana_wm.video.headers import Header, read_bmp_header, read_boxes_header, read_png_header, read_ppm_header
from sana_wm.video.pixels import AS_EIGHT_BITS, MAX_STEP, bits_of_tiff, colour_mode, refuse_by_tags, to_plain
from sana_wm.video.refusal import UnusablePixelsError

#: What a first frame comes in. Pillow knows more, and gives some of them, PostScript say, to other programs.
FORMATS = tuple(READERS)
#: A 61-megapixel camera passes; its picture is held four times while it is turned and converted, 1 GiB at most.
MAX_PIXELS = 64_000_000
#: Profiles and prompts in a PNG may be larger than the 1 MiB that Pillow allows; a compressed bomb ends here.
MAX_CHUNK_BYTES = 128 * 1024**2
#: EXIF orientations that swap width and height.
LYING = (5, 6, 7, 8)
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_CHUNK_BYTES
pillow_heif.register_heif_opener()

NEXT_STEP = (
    "Save it as an opaque 8-bit PNG or JPEG in sRGB, smaller if it is too large (on a Mac: sips -s format jpeg -m "
    "'/System/Library/ColorSync/Profiles/sRGB Profile.icc' -Z 4096 PICTURE --out picture.jpg)."
)
HEADERS: dict[str, Callable[[IO[bytes]], Header]] = {
    "PNG": read_png_header,
    "PPM": read_ppm_header,
    "BMP": read_bmp_header,
    "HEIC": read_boxes_header,
    "AVIF": read_boxes_header,
}


@dataclass(frozen=True)
class PictureFacts:
    """A picture without its pixels.

    Attributes:
        kind: Of its file, one of `FORMATS`.
        size: Width, height, upright.
        converted_from: The colour space that its colours were converted from; `None` where they are sRGB.
        notes: What is done to it on its way, in words.
    """

    kind: str
    size: tuple[int, int]
    converted_from: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as the model gets it.

    Attributes:
        image: RGB of 8 bits, sRGB, upright.
        facts: What it was, and what was done to it.
    """

    image: Image.Image
    facts: PictureFacts

    @property
    def size(self) -> tuple[int, int]:
        """Width, height."""
        return self.facts.size


def open_picture(path: Path) -> Picture:
    """Decode a picture as sRGB, turned upright where the camera noted how it was held.

    Raises:
        PictureError: There is no such file; or it is none, is damaged, is too large, or says of its pixels what cannot
            be honoured.
    """
    image, colour, facts = _decode(path)
    if colour.conversion is not None:
        image = colour.conversion.apply(image)
    return Picture(image.convert("RGB"), facts)


def inspect_picture(path: Path) -> PictureFacts:
    """What `open_picture` would do with a picture; decodes it once for as long as its file stays the same.

    Raises:
        PictureError: As `open_picture`.
    """
    try:
        status = path.stat()
    except OSError:
        return _decode(path)[2]  # says what is wrong with it
    return _inspect(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(maxsize=1)
def _inspect(path: Path, identity: tuple[int, ...]) -> PictureFacts:
    del identity  # only tells one content of the path from the next
    return _decode(path)[2]


@contextmanager
def opened(path: Path) -> Generator[Image.Image]:
    """A picture with its metadata, not decoded and not turned.

    Raises:
        PictureError: As `open_picture`.
    """
    with _named_errors(path), _open(path) as (_, image, _):
        yield image


def _decode(path: Path) -> tuple[Image.Image, Colour, PictureFacts]:
    """The picture upright, 8 bits a channel, in its own colours; what they are; and what was done."""
    with _named_errors(path), _open(path) as (kind, image, header):
        if image.width * image.height > MAX_PIXELS:  # by its header, before anything is decoded
            raise UnusablePixelsError(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS}")
        refuse_by_tags(image)
        bits = bits_of_tiff(image) if kind == "TIFF" else header.bits
        colour = read_colour(image, header, colour_mode(image))
        notes = [*_notes_of_file(image), *_notes_of_colour(bits, colour)]
        lies_on_its_side = image.getexif().get(ExifTags.Base.Orientation) in LYING
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        if lies_on_its_side:
            width, height = image.size
            notes.append(f"turned upright, as its file says: {height}x{width} pixels, now {width}x{height}")
        plain = to_plain(image, bits)
    source = None if colour.conversion is None else colour.conversion.source
    return plain, colour, PictureFacts(kind, plain.size, source, tuple(notes))


@contextmanager
def _open(path: Path) -> Generator[tuple[str, Image.Image, Header]]:
    """A file's kind, the picture before it is decoded, and what its header says besides."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe would be waited for, and read once only
        raise UnusablePixelsError("a pipe or a device")
    with path.open("rb") as file:
        kind = kind_of(file.read(HEAD_BYTES))
        if kind not in READERS:
            raise UnusablePixelsError(f"{kind}, nothing of the kind" if kind else "nothing of the kind")
        try:
            header = HEADERS[kind](file) if kind in HEADERS else Header()
            file.seek(0)
            with Image.open(file, formats=(READERS[kind],)) as image:
                # HEIC turns by its container; where that is silent, editors mean the EXIF tag, which the reader reset.
                if (orientation := image.info.get("original_orientation")) and not header.is_turned:
                    image.getexif()[ExifTags.Base.Orientation] = orientation
                yield kind, image, header
        except (UnusablePixelsError, MemoryError):
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise UnusablePixelsError(f"more than {MAX_PIXELS} pixels") from error
        except Exception as error:  # whatever a decoder raises on what it does not expect
            says_nothing = isinstance(error, UnidentifiedImageError | LookupError) or not str(error)
            reason = "" if says_nothing else f": {' '.join(str(error).split())}"
            raise UnusablePixelsError(f"{kind}, but damaged, cut or of a rare kind{reason}") from error


def _notes_of_file(image: Image.Image) -> Iterator[str]:
    """What else is in the file and is left."""
    count = getattr(image, "n_frames", 1)
    if count > 1:
        word = {"TIFF": "pages", "MPO": "pictures", "HEIF": "pictures"}.get(image.format or "", "frames")
        yield f"the {'main' if image.format == 'HEIF' else 'first'} of its {count} {word} is taken"
    xmp = image.info.get("xmp", b"")
    has_gain_map = any("hdrgainmap" in name for name in image.info.get("aux", ()))
    if has_gain_map or b"hdrgm:" in (xmp if isinstance(xmp, bytes) else str(xmp).encode()):
        yield "its HDR gain map is left out: taken as on a standard screen"


def _notes_of_colour(bits: int, colour: Colour) -> Iterator[str]:
    """What becomes of the levels."""
    conversion = colour.conversion
    if bits > 8:
        if conversion is not None and conversion.mode in ("L", "RGB"):
            _refuse_bands(bits, conversion.source, conversion.greatest_step)
        yield f"{bits} bits a channel: taken with 8"
    if conversion is not None:
        yield f"colours converted from {conversion.source} to sRGB (relative colorimetric, black point compensation)"
    if colour.note:
        yield colour.note


def _refuse_bands(bits: int, source: str, step: int) -> None:
    if step > MAX_STEP:
        raise UnusablePixelsError(
            f"{bits} bits a channel of {source}, which 8 bits would show in steps of {step} levels", AS_EIGHT_BITS
        )


@contextmanager
def _named_errors(path: Path) -> Generator[None]:
    """Whatever a decoder raises, as an error that names the picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except FileNotFoundError:
            raise PictureError(f"no file {path}", expected="a picture", next_step="Check the path.") from None
        except PermissionError as error:
            raise PictureError(
                f"{path} may not be read", got=error.strerror, expected="a picture", next_step="Check its permissions."
            ) from None
        except IsADirectoryError:
            raise PictureError(f"{path} is a folder", expected="a picture", next_step="Check the path.") from None
        except MemoryError:
            raise _unusable(path, "more pixels than there is memory for") from None
        except UnusablePixelsError as error:
            raise _unusable(path, str(error), error.next_step or NEXT_STEP) from error
        except OSError as error:
            raise _unusable(path, error.strerror or str(error)) from error


def _unusable(path: Path, reason: str, next_step: str = NEXT_STEP) -> PictureError:
    return PictureError(
        f"{path} cannot be used as the first frame",
        got=reason,
        expected=f"a whole picture in one of {', '.join(FORMATS)}",
        next_step=next_step,
    )
