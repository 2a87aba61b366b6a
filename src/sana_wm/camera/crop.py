"""Which part of a picture the video shows, where their proportions differ."""

from __future__ import annotations

from collections.abc import Mapping

from sana_wm.names import CropWord

#: A word, or the shares (x, y) of what is cut off that lie left of the part and above it.
Crop = CropWord | tuple[float, float]
CENTRE: CropWord = "centre"
_SHARES: Mapping[CropWord, tuple[float, float]] = {
    CENTRE: (0.5, 0.5),
    "top": (0.5, 0.0),
    "bottom": (0.5, 1.0),
    "left": (0.0, 0.5),
    "right": (1.0, 0.5),
}


def crop_shares(crop: Crop) -> tuple[float, float]:
    """The shares (x, y), 0 to 1, of what is cut off that lie left of the part and above it."""
    return _SHARES[crop] if isinstance(crop, str) else crop
