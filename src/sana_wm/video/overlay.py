"""Held keys and turning, drawn into the corner of every frame.

Source: layout and meaning as in `diffusion/utils/action_overlay.py` of NVlabs/Sana (docs/differences.md); unlike there,
looking up moves the knob up, fonts come with Pillow, and only the panel's rectangle is composed.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int, int]

IDLE_TILE, IDLE_LETTER = (0, 0, 0, 100), (255, 255, 255, 230)
HELD_TILE, HELD_LETTER = (255, 255, 255, 200), (0, 0, 0, 255)
SHADOW, DISC, RING = (0, 0, 0, 70), (0, 0, 0, 100), (255, 255, 255, 160)
CROSS, KNOB, GLOW = (255, 255, 255, 70), (255, 255, 255, 235), (255, 255, 255, 70)
ARROW_IDLE, ARROW_LIT = (255, 255, 255, 80), (255, 255, 255, 240)

KEYS = "WASD"
KEY_CELLS = ((1, 0), (0, 1), (1, 1), (2, 1))  # (column, row) of each key: an inverted T
ARROW_THRESHOLD = 0.08
SUPERSAMPLING = 2


class Overlay:
    """Draws one trajectory's panel bottom left: keys, and beside them a joystick of yaw and pitch.

    Args:
        keys: (T, 4) bool: W, A, S, D held.
        yaw: (T,) in [-1, 1], above 0 to the right.
        pitch: (T,) in [-1, 1], above 0 upwards.
        width: Pixels of a frame's row.
        height: Rows of a frame.
    """

    def __init__(
        self,
        keys: NDArray[np.bool_],
        yaw: NDArray[np.floating],
        pitch: NDArray[np.floating],
        *,
        width: int,
        height: int,
    ) -> None:
        self.keys, self.yaw, self.pitch = keys, yaw, pitch
        shorter = min(width, height)
        margin = max(1, round(0.05 * shorter))
        tile = max(32.0, 0.08 * shorter)
        # Columns: 3 tiles, 2 gaps of 15 %, one gap to the joystick, its disc; plus the shadow's edge all around.
        fits = min((width - 2 * margin) / (6.2 * tile), (height - 2 * margin) / (2.75 * tile), 1.0)
        self.tile = tile * fits
        self.gap = 0.15 * self.tile
        self.cluster = 2 * self.tile + self.gap
        self.edge = 0.3 * self.tile
        self.radius = 0.47 * self.cluster
        inner = 3 * self.tile + 2 * self.gap + 2 * self.gap + 2 * self.radius
        self.size = (round(inner + 2 * self.edge), round(self.cluster + 2 * self.edge))
        self.left, self.top = margin, height - margin - self.size[1]
        self.disc_centre = (self.size[0] - self.edge - self.radius, self.size[1] / 2)
        self._panel = cache(self._draw_panel)

    def draw(self, frames: NDArray[np.uint8], first_frame: int) -> None:
        """Draw into frames in place.

        Args:
            frames: uint8 (n, H, W, 3).
            first_frame: Number of the first of them; frames beyond the trajectory show its last state.
        """
        right, bottom = self.left + self.size[0], self.top + self.size[1]
        for offset, frame in enumerate(frames):
            index = min(first_frame + offset, len(self.keys) - 1)
            rectangle = frame[self.top : bottom, self.left : right]
            picture = Image.fromarray(rectangle).convert("RGBA")
            picture.alpha_composite(self._panel(tuple(bool(held) for held in self.keys[index])))
            picture.alpha_composite(self._draw_joystick(float(self.yaw[index]), float(self.pitch[index])))
            rectangle[:] = np.asarray(picture.convert("RGB"))

    def _draw_panel(self, held: tuple[bool, ...]) -> Image.Image:
        """Shadow, tiles and disc: everything but the knob; at most 16 of these."""
        panel = Image.new("RGBA", self.size, (0, 0, 0, 0))
        inset = self.edge / 2
        box = (inset, inset, self.size[0] - inset, self.size[1] - inset)
        ImageDraw.Draw(panel).rounded_rectangle(box, self.tile / 3, SHADOW)
        panel = panel.filter(ImageFilter.GaussianBlur(self.edge / 3))
        layer, draw = self._layer()
        font = ImageFont.load_default(size=max(6.0, 0.5 * self.tile * SUPERSAMPLING))
        for key, (column, row), is_held in zip(KEYS, KEY_CELLS, held, strict=True):
            left = self.edge + column * (self.tile + self.gap)
            top = self.edge + row * (self.tile + self.gap)
            tile = _scaled(left, top, left + self.tile, top + self.tile)
            draw.rounded_rectangle(tile, 0.2 * self.tile * SUPERSAMPLING, HELD_TILE if is_held else IDLE_TILE)
            centre = (SUPERSAMPLING * (left + self.tile / 2), SUPERSAMPLING * (top + self.tile / 2))
            draw.text(centre, key, HELD_LETTER if is_held else IDLE_LETTER, font, anchor="mm")
        line = max(1, round(0.03 * self.tile * SUPERSAMPLING))
        draw.ellipse(self._circle(*self.disc_centre, self.radius), DISC, RING, line)
        x, y = self.disc_centre
        reach = 0.7 * self.radius
        draw.line(_scaled(x - reach, y, x + reach, y), CROSS, line)
        draw.line(_scaled(x, y - reach, x, y + reach), CROSS, line)
        panel.alpha_composite(layer.resize(self.size, Image.Resampling.BOX))
        return panel

    def _draw_joystick(self, yaw: float, pitch: float) -> Image.Image:
        """The knob with its glow and line, and the four arrows."""
        layer, draw = self._layer()
        x, y = self.disc_centre
        for dx, dy, lit in (
            (1, 0, yaw > ARROW_THRESHOLD),
            (-1, 0, yaw < -ARROW_THRESHOLD),
            (0, -1, pitch > ARROW_THRESHOLD),
            (0, 1, pitch < -ARROW_THRESHOLD),
        ):
            tip, base, half = 0.92 * self.radius, 0.78 * self.radius, 0.1 * self.radius
            corners = ((tip, 0.0), (base, half), (base, -half))
            points = [_scaled(x + dx * along - dy * across, y + dy * along + dx * across) for along, across in corners]
            draw.polygon(points, ARROW_LIT if lit else ARROW_IDLE)
        knob_x = x + 0.48 * self.radius * yaw
        knob_y = y - 0.48 * self.radius * pitch  # rows count downwards, looking up is upwards
        draw.line(_scaled(x, y, knob_x, knob_y), KNOB, max(1, round(0.06 * self.tile * SUPERSAMPLING)))
        draw.ellipse(self._circle(knob_x, knob_y, 0.26 * self.radius), GLOW)
        draw.ellipse(self._circle(knob_x, knob_y, 0.16 * self.radius), KNOB)
        return layer.resize(self.size, Image.Resampling.BOX)

    def _layer(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        layer = Image.new("RGBA", (self.size[0] * SUPERSAMPLING, self.size[1] * SUPERSAMPLING), (0, 0, 0, 0))
        return layer, ImageDraw.Draw(layer)

    def _circle(self, x: float, y: float, radius: float) -> tuple[float, ...]:
        return _scaled(x - radius, y - radius, x + radius, y + radius)


def _scaled(*coordinates: float) -> tuple[float, ...]:
    return tuple(SUPERSAMPLING * coordinate for coordinate in coordinates)
