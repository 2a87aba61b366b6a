"""What a picture says of its colours, and how they become sRGB. A picture that says nothing is sRGB."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import ExifTags, Image

from sana_wm.video.headers import CodePoints, Header
from sana_wm.video.icc import (
    D65,
    SRGB_CURVE,
    SRGB_PRIMARIES,
    Conversion,
    Curve,
    Primaries,
    lab_to_srgb,
    make_profile,
    model_of,
    to_srgb,
    transfer_code_of,
)
from sana_wm.video.refusal import UnusablePixelsError

ADOBE_RGB = Primaries((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
ADOBE_GAMMA = 563 / 256
#: H.273, table 2: names and primaries by code.
CODED_PRIMARIES = {
    1: ("BT.709", SRGB_PRIMARIES),
    4: ("BT.470M", Primaries((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316))),
    5: ("BT.470BG", Primaries((0.64, 0.33), (0.29, 0.60), (0.15, 0.06))),
    6: ("BT.601", Primaries((0.63, 0.34), (0.31, 0.595), (0.155, 0.07))),
    7: ("SMPTE 240M", Primaries((0.63, 0.34), (0.31, 0.595), (0.155, 0.07))),
    9: ("BT.2020", Primaries((0.708, 0.292), (0.17, 0.797), (0.131, 0.046))),
    11: ("DCI-P3", Primaries((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), (0.314, 0.351))),
    12: ("Display P3", Primaries((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))),
}
#: H.273, table 3. Pictures that name a camera's curve (1, 6, 14, 15: frames of videos) are shown with that of sRGB.
CODED_CURVES: dict[int, Curve] = {
    **dict.fromkeys((1, 6, 13, 14, 15), SRGB_CURVE),
    4: 2.2,
    5: 2.8,
    8: 1.0,
}
HDR_CURVES = {16: "PQ", 18: "HLG"}
UNSPECIFIED = 2
#: PNG's 45455 stands for sRGB's own curve (W3C PNG, `sRGB` chunk), and writers round it.
SRGB_GAMMA, GAMMA_TOLERANCE = 1 / 2.2, 0.005
#: Chromaticities are written with 3 to 5 digits.
XY_TOLERANCE = 0.002
TIFF_WHITE_POINT, TIFF_PRIMARIES, TIFF_TRANSFER_FUNCTION = 318, 319, 301
EXIF_ADOBE_RGB, EXIF_UNCALIBRATED, INTEROP_ADOBE_RGB = 2, 65535, "R03"


@dataclass(frozen=True)
class Colour:
    """How a picture's colours become sRGB.

    Attributes:
        conversion: `None` where they are sRGB.
        note: What could not be used of what the file says, in words.
    """

    conversion: Conversion | None = None
    note: str | None = None


def read_colour(image: Image.Image, header: Header, mode: str) -> Colour:
    """What a picture says of its colours; of several statements the one that its format ranks first.

    Args:
        image: As opened, not yet decoded.
        header: What its header says besides.
        mode: Pillow's mode of its colours: L, RGB, CMYK or LAB.

    Raises:
        UnusablePixelsError: It says what cannot be honoured, or what it says is damaged.
    """
    profile = header.profile or image.info.get("icc_profile")
    points = header.code_points
    if image.format == "PNG" and points is not None:
        return _of_conversion(_from_code_points(points))
    if isinstance(profile, bytes) and profile:
        return _from_profile(profile, mode)
    if mode == "LAB":
        return Colour(lab_to_srgb())
    if mode == "CMYK":
        raise UnusablePixelsError(
            "CMYK without a colour profile: its inks could be any printer's",
            "Convert it to sRGB in the program that made it, or embed its profile.",
        )
    if points is not None:
        return _of_conversion(_from_code_points(points))
    if "srgb" in image.info:
        return Colour()
    return _from_tags(image)


def _from_profile(profile: bytes, mode: str) -> Colour:
    if (code := transfer_code_of(profile)) in HDR_CURVES:
        raise _hdr(HDR_CURVES[code])
    model, expected = model_of(profile), {"L": "GRAY", "LAB": "Lab"}.get(mode, mode)
    if model == expected:
        return _of_conversion(to_srgb(profile, mode, "CIE Lab" if mode == "LAB" else None))
    if mode in ("L", "RGB"):
        return Colour(
            note=f"its colour profile is for {model}, not for its {expected} pixels: taken as sRGB without it"
        )
    raise UnusablePixelsError(f"{expected} with a colour profile for {model}", "Convert it to sRGB where it was made.")


def _from_code_points(points: CodePoints) -> Conversion | None:
    if points.transfer in HDR_CURVES:
        raise _hdr(HDR_CURVES[points.transfer])
    if not points.full_range:
        raise UnusablePixelsError("video levels (16 to 235) in a picture", "Save it with full range.")
    name, primaries = CODED_PRIMARIES.get(points.primaries, ("", None))
    if points.primaries == UNSPECIFIED:
        name, primaries = "unnamed", SRGB_PRIMARIES
    curve = SRGB_CURVE if points.transfer == UNSPECIFIED else CODED_CURVES.get(points.transfer)
    if primaries is None or curve is None:
        raise UnusablePixelsError(
            f"colours of H.273's primaries {points.primaries} and transfer function {points.transfer}",
            "Save it as sRGB in the program that made it.",
        )
    return _from_primaries(name, primaries, curve)


def _from_tags(image: Image.Image) -> Colour:
    """From PNG's gAMA and cHRM, TIFF's colour tags or EXIF's colour space."""
    if image.format == "PNG" and ("gamma" in image.info or "chromaticity" in image.info):
        primaries, gamma = _png_primaries(image), image.info.get("gamma", SRGB_GAMMA)
        if gamma <= 0:
            raise UnusablePixelsError("a gamma (gAMA) of 0")
        is_srgb_like = abs(gamma - SRGB_GAMMA) < GAMMA_TOLERANCE and _are_near(primaries, SRGB_PRIMARIES)
        curve = SRGB_CURVE if is_srgb_like or "gamma" not in image.info else 1 / gamma
        return _of_conversion(_from_primaries("the colours of its gAMA and cHRM", primaries, curve))
    exif = image.getexif()
    if image.format == "TIFF":
        if TIFF_TRANSFER_FUNCTION in exif:
            raise UnusablePixelsError("a TIFF with a transfer function of its own", "Save it as sRGB.")
        if TIFF_PRIMARIES in exif:
            red_x, red_y, green_x, green_y, blue_x, blue_y = map(float, exif[TIFF_PRIMARIES])
            white_x, white_y = map(float, exif.get(TIFF_WHITE_POINT, D65))
            primaries = Primaries((red_x, red_y), (green_x, green_y), (blue_x, blue_y), (white_x, white_y))
            return _of_conversion(_from_primaries("its TIFF primaries", primaries, SRGB_CURVE))
    space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
    if space not in (EXIF_ADOBE_RGB, EXIF_UNCALIBRATED):
        return Colour()
    interoperability = exif.get_ifd(ExifTags.IFD.Interop).get(1)
    if space == EXIF_ADOBE_RGB or str(interoperability).strip("\0") == INTEROP_ADOBE_RGB:
        return _of_conversion(_from_primaries("Adobe RGB (by its EXIF data)", ADOBE_RGB, ADOBE_GAMMA))
    return Colour(
        note="its EXIF data says that its colours are not sRGB, and nothing says what they are: taken as sRGB"
    )


def _png_primaries(image: Image.Image) -> Primaries:
    if "chromaticity" not in image.info:
        return SRGB_PRIMARIES
    white_x, white_y, red_x, red_y, green_x, green_y, blue_x, blue_y = image.info["chromaticity"]
    return Primaries((red_x, red_y), (green_x, green_y), (blue_x, blue_y), (white_x, white_y))


def _from_primaries(name: str, primaries: Primaries, curve: Curve) -> Conversion | None:
    if curve == SRGB_CURVE and _are_near(primaries, SRGB_PRIMARIES):
        return None
    return to_srgb(make_profile(primaries, curve), "RGB", name)


def _of_conversion(conversion: Conversion | None) -> Colour:
    return Colour(None if conversion is None or conversion.changes_nothing else conversion)


def _are_near(one: Primaries, other: Primaries) -> bool:
    pairs = ((one.red, other.red), (one.green, other.green), (one.blue, other.blue), (one.white, other.white))
    return all(abs(a - b) < XY_TOLERANCE for these, those in pairs for a, b in zip(these, those, strict=True))


def _hdr(curve: str) -> UnusablePixelsError:
    return UnusablePixelsError(
        f"an HDR picture ({curve}): its levels are of a screen's light, not of sRGB",
        "Export it for standard screens: sRGB, 8 bits, without HDR.",
    )
