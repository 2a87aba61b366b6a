"""What a user is told of a picture of which the video shows a part: which, and the ways out."""

from __future__ import annotations

import shlex
from pathlib import Path

from sana_wm.camera.crop import CENTRE, Crop
from sana_wm.camera.crop_words import WORTH_A_WORD_SHARE, crop_choices, describe_crop
from sana_wm.camera.intrinsics import CropGeometry, crop_geometry
from sana_wm.sizes import NAMED_SIZES, TRAINED_SIZE

#: Another size is named from so many times as much of the picture on.
SHOWS_MORE = 1.2


def advise_on_crop(picture: Path, geometry: CropGeometry, crop: Crop) -> str | None:
    """What the video shows of a picture and how it shows another part or more, where that deserves a word.

    Args:
        picture: Its file.
        geometry: How it becomes the first frame.
        crop: As the manifest says it.
    """
    words = describe_crop(geometry, crop)
    if words is None or geometry.kept_share >= WORTH_A_WORD_SHARE:
        return words
    return words + _ways_out(picture, geometry, crop)


def _ways_out(picture: Path, geometry: CropGeometry, crop: Crop) -> str:
    choices = crop_choices(geometry)
    shown = CENTRE if isinstance(crop, str) and crop not in choices else crop
    others = " or ".join(f"--crop {word}" for word in choices if word != shown)
    shares = {
        name: crop_geometry(geometry.src_size, height=height, width=width).kept_share
        for name, (width, height) in NAMED_SIZES.items()
    }
    sizes = [name for name, share in shares.items() if share > SHOWS_MORE * geometry.kept_share]
    more = " or ".join(f"--size {name} {shares[name]:.0%}" for name in sizes)
    untried = "" if sizes == ["landscape"] else ", shapes that the model was not trained in"
    size = "" if geometry.crop_size == TRAINED_SIZE else " --size {}x{}".format(*geometry.crop_size)
    look = f"sana-wm camera crop {shlex.quote(str(picture))}{size} -o crop.png"
    return f"; {others} shows another part{more and f', {more} of it{untried}'}; look at it: {look}"
