"""The pixels of an opened picture: whether 8 bits can carry them, and their way to one of four modes."""

from __future__ import annotations

import numpy as np
from PIL import Image

from sana_wm.video.refusal import UnusablePixelsError

#: Fewer levels than this of 256 used by more than 8 bits: a sensor's numbers rather than a picture.
LEAST_BRIGHTEST = 32
#: More than this many levels between neighbouring greys shows as bands.
MAX_STEP = 4
TIFF_SUBFILE_TYPE, TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_SUB_IFDS, TIFF_SAMPLE_FORMAT = 254, 258, 262, 330, 339
DNG_VERSION = 50706
AS_EIGHT_BITS = "Save it with 8 bits a channel, in sRGB."
#: What is drawn on is not ours to choose.
OPAQUE = "Put it on a background: save it without transparency."


def refuse_by_tags(image: Image.Image) -> None:
    """Refuse a TIFF whose first page is not the picture, or whose numbers are none.

    Raises:
        UnusablePixelsError: A camera's raw file; signed numbers or fractions.
    """
    if image.mode == "F":
        raise UnusablePixelsError("F pixels (fractions), more than 8 bits each", AS_EIGHT_BITS)
    if image.format != "TIFF":
        return
    tags = image.getexif()
    if DNG_VERSION in tags or (tags.get(TIFF_SUBFILE_TYPE, 0) & 1 and TIFF_SUB_IFDS in tags):
        raise UnusablePixelsError("a camera's raw file: what opens in it is a small preview", "Develop it first.")
    formats = tags.get(TIFF_SAMPLE_FORMAT, 1)
    if set(formats if isinstance(formats, tuple) else (formats,)) - {1, 4}:
        raise UnusablePixelsError("signed numbers or fractions as pixels", AS_EIGHT_BITS)


def bits_of_tiff(image: Image.Image) -> int:
    """Bits per channel."""
    bits = image.getexif().get(TIFF_BITS, 1)
    return int(max(bits) if isinstance(bits, tuple) else bits)


def colour_mode(image: Image.Image) -> str:
    """The mode that an image's colours come down to: L, RGB, CMYK or LAB."""
    if image.mode in ("CMYK", "LAB"):
        return image.mode
    return "L" if image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I") else "RGB"


def to_plain(image: Image.Image, bits: int) -> Image.Image:
    """A decoded image in the mode of `colour_mode`, 8 bits a channel.

    Args:
        image: Decoded.
        bits: Per channel, in its file.

    Raises:
        UnusablePixelsError: Parts of it are transparent; or 8 bits hold next to nothing of it.
    """
    _refuse_transparent(image)
    if image.mode.startswith("I"):
        image = _grey_of_integers(image, bits)
    mode = colour_mode(image)
    plain = image if image.mode == mode else image.convert(mode)
    if bits > 8 and mode in ("L", "RGB"):
        extrema = np.ravel(plain.getextrema())
        if 0 < (brightest := int(extrema.max())) < LEAST_BRIGHTEST:
            raise UnusablePixelsError(
                f"{bits} bits a channel, of which {brightest + 1} levels of 256 would be left",
                "Stretch its levels to the whole range, then save it with 8 bits a channel.",
            )
    return plain


def _grey_of_integers(image: Image.Image, bits: int) -> Image.Image:
    """8-bit grey of 9 to 16 bits, rounded to the nearest level."""
    if bits > 16:
        raise UnusablePixelsError(f"{bits} bits a channel", AS_EIGHT_BITS)
    # A PPM's values are brought to 16 bits when it is decoded.
    greatest = 65535 if image.format == "PPM" else (1 << bits) - 1
    levels = np.asarray(image, dtype=np.float64) / greatest
    if image.format == "TIFF" and image.getexif().get(TIFF_PHOTOMETRIC) == 0:  # white is 0
        levels = 1 - levels
    return Image.fromarray((levels * 255).round().astype(np.uint8))


def _refuse_transparent(image: Image.Image) -> None:
    if not image.has_transparency_data:
        return
    if image.mode.startswith("I"):
        key = image.info["transparency"]
        is_opaque = not (np.asarray(image) == key).any()
    else:
        is_opaque = image.convert("RGBA").getchannel("A").getextrema() == (255, 255)
    if not is_opaque:
        raise UnusablePixelsError("transparent pixels", OPAQUE)
