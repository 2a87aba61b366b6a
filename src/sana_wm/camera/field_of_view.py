"""How much of the scene the camera sees: the angle that intrinsics and a picture's size make."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: Horizontal field of view, in degrees, outside which intrinsics are more likely wrong than meant: numbers of another
#: picture size, or swapped. A phone's main lens (24 to 28 mm) has 65 to 74, a 13 mm one 108, a 90 mm one 23.
PLAUSIBLE_DEG = (25.0, 120.0)
#: The same along the shorter side: the least of a 16:9 picture, the most of an upright one.
PLAUSIBLE_SHORT_DEG = (14.0, 120.0)


def field_of_view_deg(intrinsics: Sequence[float], *, width: int, height: int) -> tuple[float, float]:
    """Horizontal and vertical field of view.

    Args:
        intrinsics: fx, fy, cx, cy in pixels of the picture.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
    """
    fx, fy, cx, cy = map(float, intrinsics)
    horizontal = math.atan2(cx, fx) + math.atan2(width - cx, fx)
    vertical = math.atan2(cy, fy) + math.atan2(height - cy, fy)
    return math.degrees(horizontal), math.degrees(vertical)


def focal_length_px(field_of_view_deg: float, *, size_px: float) -> float:
    """Focal length of a centred camera that sees `field_of_view_deg` across `size_px` pixels."""
    return size_px / 2 / math.tan(math.radians(field_of_view_deg) / 2)


def plausible_deg(*, width: int, height: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Which fields of view are plausible across a picture of this size, and which from its top to its bottom."""
    upright = width < height
    return (PLAUSIBLE_SHORT_DEG, PLAUSIBLE_DEG) if upright else (PLAUSIBLE_DEG, PLAUSIBLE_SHORT_DEG)


def doubt_about(horizontal_deg: float, plausible: tuple[float, float] = PLAUSIBLE_DEG) -> str | None:
    """What is doubtful about a horizontal field of view outside what is plausible, in words."""
    low, high = plausible
    if low <= horizontal_deg <= high:
        return None
    return f"a field of view of {horizontal_deg:.1f} degrees across the video, outside {low:g} to {high:g}"
