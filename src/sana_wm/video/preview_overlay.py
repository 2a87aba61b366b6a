"""What a camera preview says in its corners: all eight keys, those that are held bright; time and frame number."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sana_wm.video.overlay import HELD_LETTER, HELD_TILE, IDLE_LETTER, IDLE_TILE, KEY_CELLS, SUPERSAMPLING

#: Of the height of a frame, or of its width where that is less: a key, and what lies between and around.
KEY_SHARE, GAP_SHARE, MARGIN_SHARE = 0.1, 0.015, 0.045
#: Of a key: the letters of the time code.
TEXT_SHARE = 0.46


class PreviewOverlay:
    """Draws W A S D bottom left, I J K L bottom right, and the time code top left.

    Args:
        keys: (F, 8) bool: W, A, S, D, I, J, K, L held (`sana_wm.camera.motion.read_keys`).
        fps: Frames a second.
        width: Pixels of a frame's row.
        height: Rows of a frame.
    """

    def __init__(self, keys: NDArray[np.bool_], *, fps: float, width: int, height: int) -> None:
        self.keys, self.fps = keys, fps
        self.size = (width, height)
        short = min(width, height)
        self.key_px, self.gap_px, self.margin_px = KEY_SHARE * short, GAP_SHARE * short, MARGIN_SHARE * short
        self._cluster = cache(self._draw_cluster)

    def draw(self, frame: NDArray[np.uint8], index: int) -> None:
        """Draw into a frame in place.

        Args:
            frame: uint8 (H, W, 3).
            index: Its number.
        """
        width, height = self.size
        margin = round(self.margin_px)
        held = tuple(bool(one) for one in self.keys[index])
        going, looking = self._cluster("WASD", held[:4]), self._cluster("IJKL", held[4:])
        bottom = height - margin - going.height
        for layer, left, top in (
            (going, margin, bottom),
            (looking, width - margin - looking.width, bottom),
            (self._draw_time(index), margin, margin),
        ):
            rectangle = frame[top : top + layer.height, left : left + layer.width]
            beneath = Image.fromarray(rectangle).convert("RGBA")
            beneath.alpha_composite(layer.crop((0, 0, *beneath.size)))
            rectangle[:] = np.asarray(beneath.convert("RGB"))

    def _draw_cluster(self, letters: str, held: tuple[bool, ...]) -> Image.Image:
        """Four keys as an inverted T."""
        step = SUPERSAMPLING * (self.key_px + self.gap_px)
        key = SUPERSAMPLING * self.key_px
        size = (round(2 * step + key), round(step + key))
        layer = Image.new("RGBA", size, (0, 0, 0, 0))
        pen = ImageDraw.Draw(layer)
        font = ImageFont.load_default(size=max(6.0, 0.5 * key))
        for letter, (column, row), is_held in zip(letters, KEY_CELLS, held, strict=True):
            left, top = column * step, row * step
            tile = (left, top, left + key - 1, top + key - 1)
            pen.rounded_rectangle(tile, 0.2 * key, HELD_TILE if is_held else IDLE_TILE)
            pen.text((left + key / 2, top + key / 2), letter, HELD_LETTER if is_held else IDLE_LETTER, font, "mm")
        return layer.resize((size[0] // SUPERSAMPLING, size[1] // SUPERSAMPLING), Image.Resampling.BOX)

    def _draw_time(self, index: int) -> Image.Image:
        """Minutes, seconds and hundredths, and the frame of how many."""
        font = ImageFont.load_default(size=max(6.0, SUPERSAMPLING * TEXT_SHARE * self.key_px))
        last = len(self.keys) - 1
        text = f"{time_code(index, self.fps)}   frame {index} of {last}"
        widest = f"{time_code(last, self.fps)}   frame {last} of {last}"  # the box does not tremble as digits change
        pad = SUPERSAMPLING * TEXT_SHARE * self.key_px / 2
        size = (round(1.04 * font.getlength(widest) + 2 * pad), round(3.4 * pad))
        layer = Image.new("RGBA", size, (0, 0, 0, 0))
        pen = ImageDraw.Draw(layer)
        pen.rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), pad, IDLE_TILE)
        pen.text((pad, size[1] / 2), text, IDLE_LETTER, font, "lm")
        return layer.resize((size[0] // SUPERSAMPLING, size[1] // SUPERSAMPLING), Image.Resampling.BOX)


def time_code(index: int, fps: float) -> str:
    """When a frame is shown: minutes, seconds, hundredths of a second, cut as clocks do."""
    hundredths = int(100 * index / fps)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
