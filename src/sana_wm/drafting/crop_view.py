"""Which part of a picture a video shows, as `camera crop` draws it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sana_wm.camera.crop import Crop
from sana_wm.camera.crop_words import crop_choices
from sana_wm.camera.intrinsics import crop_geometry
from sana_wm.durable import write_durably
from sana_wm.video.crop_drawing import KeptPart, as_png, draw_crops
from sana_wm.video.picture import inspect_picture, open_picture


def kept_parts(picture: Path, crop: Crop | None, size: tuple[int, int]) -> list[KeptPart]:
    """The part that is said, or each that a word would choose.

    Args:
        picture: Its file.
        crop: What is said of it, if anything is.
        size: Width, height of the video, in pixels.

    Raises:
        PictureError: It cannot be the first frame.
    """
    picture_size = inspect_picture(picture).size
    whole = crop_geometry(picture_size, height=size[1], width=size[0])
    crops: tuple[Crop, ...] = crop_choices(whole) if crop is None else (crop,)
    geometries = [crop_geometry(picture_size, height=size[1], width=size[0], crop=one) for one in crops]
    names = [one if isinstance(one, str) else f"{one[0]:g},{one[1]:g}" for one in crops]
    return [KeptPart(name, one.kept_box_px, one.kept_share) for name, one in zip(names, geometries, strict=True)]


def write_crop_drawing(picture: Path, parts: Sequence[KeptPart], out: Path) -> None:
    """Write the picture once for each part as a PNG, whole or not at all."""
    write_durably(out, as_png(draw_crops(open_picture(picture).image, parts)))
