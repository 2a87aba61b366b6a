"""The first frame: a picture opened with care."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError


def open_picture(path: Path) -> Image.Image:
    """Decode a picture as RGB, turned upright where the camera noted how it was held.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is none, is damaged or is too large; the message says which.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                _refuse_lossy_modes(image)
                return ImageOps.exif_transpose(image).convert("RGB")
        except FileNotFoundError:
            raise
        except UnidentifiedImageError:
            raise ValueError("not a picture that Pillow knows") from None
        except (OSError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ValueError(str(error)) from error


def _refuse_lossy_modes(image: Image.Image) -> None:
    """Refuse what `convert("RGB")` would change without a word: 16-bit levels are clipped, transparency is dropped."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"{image.mode} pixels, more than 8 bits each; save it as an 8-bit picture")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise ValueError("transparent pixels; save it on a background")
