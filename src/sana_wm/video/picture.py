"""The first frame: a picture opened with care."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from sana_wm.errors import PictureError

#: What a first frame comes in. Pillow knows more, and gives some of them, PostScript say, to other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
#: A 61-megapixel camera passes; its picture is held four times while it is turned and converted, 1 GiB at most.
MAX_PIXELS = 64_000_000


def open_picture(path: Path) -> Image.Image:
    """Decode a picture as RGB, turned upright where the camera noted how it was held.

    Raises:
        PictureError: There is no such file; or it is none, is damaged or is too large.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=FORMATS) as image:
                _refuse_too_large(image)
                _refuse_lossy_modes(image)
                return ImageOps.exif_transpose(image).convert("RGB")
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
        except UnidentifiedImageError:
            raise _unusable(path, "nothing of the kind") from None
        except Exception as error:  # whatever a decoder raises on what it does not expect
            raise _unusable(path, str(error) or type(error).__name__) from error


def _unusable(path: Path, reason: str) -> PictureError:
    return PictureError(
        f"{path} cannot be used as the first frame",
        got=reason,
        expected=f"a whole picture in one of {', '.join(FORMATS)}",
        next_step="Save it as an opaque 8-bit PNG or JPEG, smaller if it is too large (on a Mac: sips -s format jpeg "
        "-Z 4096 PICTURE --out picture.jpg).",
    )


def _refuse_too_large(image: Image.Image) -> None:
    """By its header, before anything is decoded."""
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS}")


def _refuse_lossy_modes(image: Image.Image) -> None:
    """Refuse what `convert("RGB")` would change without a word: 16-bit levels are clipped, transparency is dropped."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"{image.mode} pixels, more than 8 bits each")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise ValueError("transparent pixels")
