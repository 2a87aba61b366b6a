"""Frames as a moving picture that pages and chats show by themselves: GIF or animated WebP, bounded in size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sana_wm.durable import durable_file
from sana_wm.errors import UsageError

SUFFIXES = (".gif", ".webp")
#: GitHub takes no picture beyond this, and pages should not carry more.
MOST_BYTES = 10_000_000
#: A GIF's times are hundredths of a second, and many viewers slow down what is faster than 10 frames a second or so.
FASTEST_FPS = {".gif": 12.5, ".webp": 50.0}
#: Rather fewer frames a second than none: below this it no longer shows a motion.
LEAST_FPS = 3.0
GIF_COLOURS = 128
#: Each frame whole: where only the differences are kept, blocks of older frames stay in a calm sky, for few bytes less.
WEBP = {"quality": 68, "method": 4, "kmin": 0, "kmax": 1}


@dataclass(frozen=True)
class Animation:
    """What was written.

    Attributes:
        num_frames: Frames that it has.
        every: Each how many-th of the frames these are; 1: all.
        num_bytes: Of the file.
    """

    num_frames: int
    every: int
    num_bytes: int


def write_animation(
    frames: Callable[[], Iterable[NDArray[np.uint8]]], out: Path, *, fps: float, most_bytes: int = MOST_BYTES
) -> Animation:
    """Write frames as a GIF or a WebP that begins again when it ends, whole or not at all.

    Where all frames would be too fast for the format, or make more than `most_bytes`, it takes every second one, or
    every fourth: the motion keeps its pace. What was written says so.

    Args:
        frames: Gives uint8 (H, W, 3) arrays from the first to the last, each time anew.
        out: The file; its suffix says the format.
        fps: Frames a second.
        most_bytes: Bound of the file's size.

    Raises:
        UsageError: Even with few frames it is larger.
    """
    suffix = out.suffix.lower()
    every = 1
    while fps / every > FASTEST_FPS[suffix]:
        every *= 2
    with durable_file(out) as part:
        while True:
            count = _save(islice(frames(), 0, None, every), part, suffix, fps / every)
            num_bytes = part.stat().st_size
            if num_bytes <= most_bytes:
                return Animation(count, every, num_bytes)
            if fps / (2 * every) < LEAST_FPS:
                raise UsageError(
                    f"{out.name} would be too large for a page",
                    got=f"{num_bytes / 1e6:.1f} MB for {count} frames",
                    expected=f"at most {most_bytes / 1e6:g} MB",
                    next_step="Write .mp4, or .webp in place of .gif, or take a shorter path.",
                )
            every *= 2


def _save(frames: Iterator[NDArray[np.uint8]], part: Path, suffix: str, fps: float) -> int:
    """Write frames, one in memory at a time where the format allows it; returns how many."""
    shown: list[int] = []

    def pictures() -> Iterator[Image.Image]:
        for frame in frames:
            shown.append(len(shown))
            picture = Image.fromarray(frame)
            # No dither: its grain moves from frame to frame, and doubles the size.
            yield picture.quantize(GIF_COLOURS, dither=Image.Dither.NONE) if suffix == ".gif" else picture

    rest = pictures()
    first = next(rest)
    if suffix == ".gif":
        step_ms = round(100 / fps) * 10
        first.save(part, "GIF", save_all=True, append_images=rest, duration=step_ms, loop=0, optimize=False)
    else:
        step_ms = round(1000 / fps)
        first.save(part, "WEBP", save_all=True, append_images=rest, duration=step_ms, loop=0, **WEBP)
    return len(shown)
