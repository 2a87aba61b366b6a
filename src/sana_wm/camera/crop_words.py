"""What the video shows of a picture, in words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.crop import CENTRE, Crop, crop_shares
from sana_wm.camera.intrinsics import CropGeometry
from sana_wm.camera.plausibility import OFF_CENTRE
from sana_wm.names import CropWord
from sana_wm.sizes import TRAINED_SIZE

#: Below this share of the picture shown, and above this scale, a user is told.
WORTH_A_WORD_SHARE, WORTH_A_WORD_SCALE = 0.75, 1.5


def crop_choices(geometry: CropGeometry) -> tuple[CropWord, ...]:
    """The words that make a difference for a picture, from its left to its right, or from its top to its bottom."""
    if not any(geometry.cut_px):
        return (CENTRE,)
    return ("left", CENTRE, "right") if geometry.cuts_across else ("top", CENTRE, "bottom")


def describe_crop(geometry: CropGeometry, crop: Crop) -> str | None:
    """What the video does not show of a picture, or shows enlarged, in words; `None` when that is little.

    Args:
        geometry: How the picture becomes the first frame.
        crop: As the manifest says it.
    """
    notes: list[str] = []
    if geometry.kept_share < WORTH_A_WORD_SHARE:
        notes.append(f"the video shows {name_part(geometry, crop)}")
    if any(geometry.cut_px) and isinstance(crop, str) and crop not in crop_choices(geometry):
        cut = "left and right" if geometry.cuts_across else "above and below"
        notes.append(f"crop {crop} changes nothing: what is cut off lies {cut}")
    if (enlarged := geometry.resized_size[0] / geometry.src_size[0]) > WORTH_A_WORD_SCALE:
        notes.append(f"it is enlarged {enlarged:.1f} times")
    return "; ".join(notes) or None


def name_part(geometry: CropGeometry, crop: Crop) -> str:
    """Which part of a picture the video shows: `the top 41% of its 3000x4000 pixels`."""
    if not any(geometry.cut_px):
        return "all of its {}x{} pixels".format(*geometry.src_size)
    width, height = geometry.src_size
    share = f"{geometry.kept_share:.0%} of its {width}x{height} pixels"
    if isinstance(crop, str):
        return f"the {crop if crop != CENTRE and crop in crop_choices(geometry) else 'middle'} {share}"
    left, top = crop_shares(crop)
    return (
        f"{share}, {left:.0%} of the rest left of it"
        if geometry.cuts_across
        else f"{share}, {top:.0%} of the rest above it"
    )


def describe_size(size: tuple[int, int]) -> str | None:
    """What there is to say of a video's width and height in pixels; `None` where the model was trained at them."""
    if size == TRAINED_SIZE:
        return None
    trained, other = (f"{width}x{height}" for width, height in (TRAINED_SIZE, size))
    return (
        f"the model was trained at {trained}, not at {other}: nothing is known of how it does there; diffusion models "
        "tend to repeat things in sizes that they were not trained at, so look at a draft of a few seconds first"
    )


def doubts_about_axis(cropped: NDArray[np.floating], *, height: int, width: int) -> list[str]:
    """About a lens that no longer looks through the middle, because the part that is shown lies to one side.

    Args:
        cropped: (F, 4) `[fx, fy, cx, cy]` in pixels of the video.
        height: Of the video, in pixels.
        width: Of the video, in pixels.
    """
    across, down = (cropped[0, 2:] / (width, height) - 0.5).tolist()
    sides = ((across, "width", "right of", "left of"), (down, "height", "below", "above"))
    return [
        f"the camera looks at a point {abs(share):.0%} of the video's {name} {after if share > 0 else before} its "
        "middle: the model is told so, and nothing is known of how it does with that"
        for share, name, after, before in sides
        if abs(share) > OFF_CENTRE
    ]
