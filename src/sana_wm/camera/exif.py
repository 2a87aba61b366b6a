"""The focal length that a camera noted in a picture (EXIF), as pixels of that picture.

Source: Exif 3.0 (CIPA DC-008) for the tags; CIPA DCG-001 for "35 mm equivalent", which compares diagonals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import ExifTags, Image

#: Diagonal and long side of a 35 mm frame, in mm.
FRAME_DIAGONAL_MM, FRAME_WIDTH_MM = math.hypot(36, 24), 36.0
#: Millimetres in a FocalPlaneResolutionUnit: inch, centimetre, millimetre, micrometre.
UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
DEFAULT_UNIT = 2
#: Apple's value of CustomRendered for a panorama; Google's metadata of panoramas and photo spheres (XMP).
APPLE_PANORAMA, GPANO = 6, b"GPano:"
#: Wider than any phone or digital camera takes in one piece: swept, or cut from something else.
PANORAMA_ASPECT = 2.5
#: Engraved focal lengths are rounded, and focusing changes the true one by a few percent.
NOMINAL_FOCAL_SHARE = 0.05


@dataclass(frozen=True)
class FocalLength:
    """A focal length of the upright picture.

    Attributes:
        fx: In pixels.
        fy: In pixels.
        source: Where it comes from, in words.
        uncertainty_share: How far the true one may be off, as a share.
        basis: Where that share comes from, in words.
    """

    fx: float
    fy: float
    source: str
    uncertainty_share: float
    basis: str


def read_focal_length(image: Image.Image) -> FocalLength | str:
    """The focal length from a picture's EXIF data.

    Args:
        image: As `Image.open` gives it, not yet turned upright.

    Returns:
        The focal length, or why there is none. A picture whose proportions changed since it was taken has none: a crop
        sees less than its lens did.
    """
    exif = image.getexif()
    tags = exif.get_ifd(ExifTags.IFD.Exif)
    if not tags:
        return "the picture holds no EXIF data"
    width, height = image.size
    if _is_panorama(image, tags):
        return "it is a panorama, which no single focal length describes"
    taken = (_number(tags, ExifTags.Base.ExifImageWidth), _number(tags, ExifTags.Base.ExifImageHeight))
    if all(taken) and _is_cropped((width, height), taken) and _is_cropped((height, width), taken):
        return f"its EXIF data is of {taken[0]:g}x{taken[1]:g} pixels, of other proportions than {width}x{height}"
    by_film, by_sensor = _from_35mm(tags, width, height), _from_sensor(tags, (width, height), taken)
    found = by_film or by_sensor
    if found is None:
        return "its EXIF data has neither a 35 mm equivalent nor a focal length with the sensor's resolution"
    if by_film is not None and by_sensor is not None:
        apart = abs(by_sensor.fx / by_film.fx - 1)
        if apart > by_film.uncertainty_share:
            basis = f"the sensor's resolution gives {by_sensor.fx:.0f} px"
            found = FocalLength(by_film.fx, by_film.fy, by_film.source, apart, basis)
    if _number(exif, ExifTags.Base.Orientation) >= 5:  # 5 to 8 lie on their side
        return FocalLength(found.fy, found.fx, found.source, found.uncertainty_share, found.basis)
    return found


def _is_panorama(image: Image.Image, tags: Mapping[int, object]) -> bool:
    xmp = image.info.get("xmp", image.info.get("XML:com.adobe.xmp", b""))
    return (
        _number(tags, ExifTags.Base.CustomRendered) == APPLE_PANORAMA
        or GPANO in (xmp if isinstance(xmp, bytes) else str(xmp).encode())
        or max(image.size) > PANORAMA_ASPECT * min(image.size)
    )


def _from_35mm(tags: Mapping[int, object], width: int, height: int) -> FocalLength | None:
    equivalent_mm = _number(tags, ExifTags.Base.FocalLengthIn35mmFilm)
    if not equivalent_mm:
        return None
    focal_px = equivalent_mm * math.hypot(width, height) / FRAME_DIAGONAL_MM
    by_width_px = equivalent_mm * max(width, height) / FRAME_WIDTH_MM
    share = 0.5 / equivalent_mm + abs(by_width_px / focal_px - 1)
    basis = "whole millimetres, and whether the maker compared diagonals or widths"
    return FocalLength(focal_px, focal_px, f"EXIF, {equivalent_mm:g} mm (35 mm equivalent)", share, basis)


def _from_sensor(tags: Mapping[int, object], size: tuple[int, int], taken: tuple[float, float]) -> FocalLength | None:
    """From the lens's focal length and the pixels per unit on the sensor, which are those of the picture as taken."""
    focal_mm = _number(tags, ExifTags.Base.FocalLength)
    x, y = _number(tags, ExifTags.Base.FocalPlaneXResolution), _number(tags, ExifTags.Base.FocalPlaneYResolution)
    unit_mm = UNIT_MM.get(int(_number(tags, ExifTags.Base.FocalPlaneResolutionUnit)) or DEFAULT_UNIT)
    zoomed = _number(tags, ExifTags.Base.DigitalZoomRatio) not in (0.0, 1.0)  # crops, and no tag says by how much
    if not (focal_mm and x and y and unit_mm and taken[0]) or zoomed:
        return None
    on_its_side = all(taken) and _is_cropped(size, taken)  # turned by software that kept the tags
    scale = size[0] / (taken[1] if on_its_side else taken[0])
    per_mm = (y, x) if on_its_side else (x, y)
    fx, fy = (focal_mm * resolution / unit_mm * scale for resolution in per_mm)
    source = f"EXIF, {focal_mm:g} mm lens with the sensor's resolution"
    return FocalLength(fx, fy, source, NOMINAL_FOCAL_SHARE, "nominal focal lengths are rounded and change with focus")


def _is_cropped(size: tuple[int, int], taken: tuple[float, float]) -> bool:
    """Whether proportions differ by more than scaling to whole pixels explains."""
    return abs(size[0] * taken[1] - size[1] * taken[0]) > max(taken)


def _number(tags: Mapping[int, object], tag: ExifTags.Base) -> float:
    """A tag's value; 0, as the standard has it for unknown, where it is missing or unusable."""
    try:
        value = float(tags.get(tag, 0))  # pyright: ignore[reportArgumentType] - cameras write what they like
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0
