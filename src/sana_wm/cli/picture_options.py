"""The options that say how a picture becomes the first frame: the video's size, and which part it shows."""

from __future__ import annotations

import math
import re
from typing import Annotated

import typer

from sana_wm.cli import completion
from sana_wm.errors import UsageError, did_you_mean
from sana_wm.names import CROP_WORDS, CropWord
from sana_wm.sizes import NAMED_SIZES, PIXELS_PER_LATENT

SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size",
        autocompletion=completion.sizes,
        help="1280x704 (default), what the model was trained at; less is quicker. portrait, square: untried.",
    ),
]
CropOption = Annotated[
    str | None,
    typer.Option(
        "--crop",
        autocompletion=completion.crops,
        help="What it shows of a picture of another shape: centre (default), top, bottom, left, right, or X,Y, the "
        "shares of what is cut off that lie left of it and above it.",
    ),
]


def parse_crop(text: str | None) -> CropWord | tuple[float, float] | None:
    """A word as it is, `0.5,0.2` as numbers.

    Raises:
        UsageError: It is neither, or a number is no share.
    """
    if text is None:
        return None
    words: dict[str, CropWord] = {word: word for word in CROP_WORDS}
    if text in words:
        return words[text]
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        x = y = math.nan
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise UsageError(
            "--crop is not usable",
            got=repr(text),
            expected=f"{', '.join(CROP_WORDS)}, or X,Y from 0 to 1",
            next_step=did_you_mean(text, CROP_WORDS),
        )
    return x, y


def parse_size(text: str | None) -> tuple[int, int] | None:
    """`1280x704`, or the name of a size, as numbers.

    Raises:
        UsageError: It is none, or none that the model's latents make.
    """
    if text is None or text in NAMED_SIZES:
        return text if text is None else NAMED_SIZES[text]
    if (found := re.fullmatch(r"(\d{1,5})x(\d{1,5})", text, re.ASCII)) is None:
        raise UsageError(
            "--size is not usable",
            got=repr(text),
            expected=f"width x height in pixels, such as 1280x704, or {', '.join(NAMED_SIZES)}",
            next_step=did_you_mean(text, tuple(NAMED_SIZES)),
        )
    width, height = int(found[1]), int(found[2])
    near_width, near_height = (max(round(one / PIXELS_PER_LATENT), 1) * PIXELS_PER_LATENT for one in (width, height))
    if (near_width, near_height) != (width, height):
        raise UsageError(
            f"--size is not made of multiples of {PIXELS_PER_LATENT}",
            got=repr(text),
            expected=f"{near_width}x{near_height}, the nearest",
            next_step="Say that, or another.",
        )
    return width, height
