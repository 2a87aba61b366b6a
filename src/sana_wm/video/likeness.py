"""Frames held against what they should show: the picture that the video begins with, and the colours of their latents.

All on mean colours of the latent grid's tiles, (h, w, 3), 0 to 255. Distances are root mean squares over all values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.float64]

#: Below this distance two pictures of a scene are the same: 8 bits, other grain, a camera that moved a little.
NEAR = 10.0
#: A change of the picture explains a frame when it is this much nearer than the picture itself.
EXPLAINED_SHARE = 0.4
#: Farther than this, with less correlation, a frame shows another scene than its picture.
FAR, ALIKE = 40.0, 0.5
#: Contrast that the first frame may have relative to its picture; clipped, four times as much is less than twice.
LEAST_CONTRAST, MOST_CONTRAST = 0.5, 1.6
#: A picture needs this much variation before more or less of it can be told.
LEAST_STD = 8.0
#: A tile has jumped when it changed by this much; its latents tell of it when they changed by a quarter of that.
JUMP, TOLD_SHARE = 24.0, 0.25
#: How many times the usual distance between a frame and what its latents say is unusual.
UNUSUAL = 4.0


def distance(a: Colours, b: Colours) -> float:
    """Root mean square difference."""
    return float(np.sqrt(np.mean(np.square(a - b))))


def name_change(shown: Colours, expected: Colours) -> str | None:
    """What was done to a picture, if anything simple was: swapped channels, mirrored, rows or columns shifted.

    Args:
        shown: The frame.
        expected: What it should show.

    Returns:
        The change in words, when `shown` is far from `expected` and the changed one is much nearer.
    """
    apart = distance(shown, expected)
    if apart < NEAR:
        return None
    nearest, words = min((distance(shown, change(expected)), words) for words, change in _changes(expected.shape))
    return words if nearest <= EXPLAINED_SHARE * apart else None


def name_scale(shown: Colours, expected: Colours) -> str | None:
    """Whether a frame shows its picture with much more or less contrast than it has, or as its negative."""
    if expected.std() < LEAST_STD or shown.std() < 1:
        return None
    slope = float(np.polyfit(expected.ravel(), shown.ravel(), 1)[0])
    correlation = float(np.corrcoef(expected.ravel(), shown.ravel())[0, 1])
    if correlation < -0.9:
        return "a negative"
    if correlation > 0.85 and not LEAST_CONTRAST < slope < MOST_CONTRAST:
        return f"contrast times {slope:.2g}"
    return None


def shows_another_scene(shown: Colours, expected: Colours) -> bool:
    """Whether a frame has neither the colours nor the layout of its picture."""
    far = distance(shown, expected) > FAR
    if min(shown.std(), expected.std()) < 1:
        return far
    return far and float(np.corrcoef(shown.ravel(), expected.ravel())[0, 1]) < ALIKE


def off_tiles(shown: Colours, told: Colours, usual: float) -> NDArray[np.bool_]:
    """Tiles, bool (h, w), that are unusually far from what their latents say.

    Args:
        shown: The frame.
        told: What its latents say of it.
        usual: The usual distance between frames and what their latents say.
    """
    return np.sqrt(np.square(shown - told).mean(-1)) > max(UNUSUAL * usual, JUMP)


def untold_jumps(before: Colours, after: Colours, step: Colours) -> NDArray[np.bool_]:
    """Tiles, bool (h, w), that jumped from one frame to the next while their latents changed little, or otherwise.

    Args:
        before: The frame before.
        after: The frame.
        step: How far what the latents say changes from well before to well after.
    """
    jump = after - before
    length = np.sqrt(np.square(jump).sum(-1))
    along = (step * jump).sum(-1) / np.maximum(length, 1e-6)
    return (length > JUMP * np.sqrt(3)) & (along < TOLD_SHARE * length)


def _changes(shape: tuple[int, ...]) -> Iterator[tuple[str, Callable[[Colours], Colours]]]:
    for order in permutations(range(3)):
        if order != (0, 1, 2):
            names = "".join("RGB"[index] for index in order)
            yield f"channels in the order {names}", lambda colours, order=order: colours[..., list(order)]
    yield "upside down", lambda colours: colours[::-1]
    yield "mirrored", lambda colours: colours[:, ::-1]
    for axis, name in ((0, "rows"), (1, "columns")):
        for shift in range(1, shape[axis]):
            words = f"{name} shifted by about {shift * 32} pixels"
            yield words, lambda colours, shift=shift, axis=axis: np.roll(colours, shift, axis)
