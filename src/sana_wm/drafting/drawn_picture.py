"""A picture that the project draws itself: a village street that runs to the mountains under a low sun.

It is drawn in perspective, over level ground, by the intrinsics that the demo gives with it: `camera preview` lays it
over just such a ground. The same size gives the same pixels.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float, float]

#: Of the picture's width: 64 degrees from left to right.
FOCAL_SHARE = 0.8
FIELD_OF_VIEW_DEG = 2 * math.degrees(math.atan(0.5 / FOCAL_SHARE))
#: The camera over the ground, in scene units; what `camera preview` takes unless told otherwise.
CAMERA_HEIGHT = 1.6
SUPERSAMPLING = 2
SEED = 7

ZENITH, UPPER, LOWER, GLOW = (58, 74, 128), (122, 112, 160), (238, 164, 132), (255, 216, 160)
SUN, SUN_X, SUN_HEIGHT = (255, 244, 214), 0.12, 0.085
HAZE, HAZE_UNITS = (232, 170, 146), 75.0
RIDGES = (((196, 142, 156), 0.135, 5), ((150, 112, 148), 0.095, 9), ((104, 88, 128), 0.06, 14))
GRASS, PAVEMENT, ROAD, KERB, LINE = (98, 118, 74), (172, 148, 128), (104, 94, 104), (196, 176, 158), (236, 216, 180)
SHADOW = (70, 66, 88)
WALLS = ((226, 170, 120), (214, 124, 96), (236, 206, 164), (142, 156, 160), (200, 146, 138))
ROOFS = ((138, 70, 66), (112, 62, 72), (150, 88, 68))
PANE, LAMPLIGHT, FRAME = (76, 80, 108), (255, 214, 128), (244, 228, 204)
TRUNK, LEAVES = (84, 62, 60), ((206, 128, 62), (186, 92, 66), (128, 130, 70))
#: Along the wall and up.
WINDOW_CORNERS = ((0.0, 0.0), (0.62, 0.0), (0.62, 0.82), (0.0, 0.82))
SHARE_LIT = 0.45


def intrinsics_of(width: int, height: int) -> list[float]:
    """fx, fy, cx, cy of the picture of this size, in its pixels."""
    return [FOCAL_SHARE * width, FOCAL_SHARE * width, width / 2, height / 2]


def draw_picture(width: int = 1280, height: int = 704) -> Image.Image:
    """Draw the picture.

    Args:
        width: Pixels.
        height: Pixels.
    """
    canvas = _sky(width, height).resize((width * SUPERSAMPLING, height * SUPERSAMPLING), Image.Resampling.BILINEAR)
    _Street(canvas, np.random.default_rng(SEED)).draw()
    return canvas.resize((width, height), Image.Resampling.BOX)


def _sky(width: int, height: int) -> Image.Image:
    """From violet to gold at the horizon, the sun's glow, and clouds that it lights from below."""
    random = np.random.default_rng(SEED)
    across = (np.arange(width) + 0.5 - width / 2) / width
    above = np.maximum(0.0, (height / 2 - np.arange(height) - 0.5) / width)[:, None]  # of the width, over the horizon
    stops, colours = (0.0, 0.05, 0.16, 0.34), np.array([GLOW, LOWER, UPPER, ZENITH], dtype=float)
    sky = np.stack([np.interp(above, stops, colours[:, channel]) for channel in range(3)], axis=-1)
    sky = np.broadcast_to(sky, (height, width, 3)).copy()
    noise = np.zeros((height, width))
    for octave, weight in ((1, 0.5), (2, 0.28), (4, 0.15), (8, 0.07)):
        coarse = random.random((7 * octave, 4 * octave)).astype(np.float32)
        noise += weight * np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    cover = np.clip((noise - 0.5) / 0.16, 0, 1) * np.clip(above / 0.06, 0, 1) * np.clip((0.42 - above) / 0.2, 0, 1)
    lit = np.clip(1.2 - 3.2 * above, 0.25, 1)[..., None]
    clouds = np.array((252, 190, 160)) * lit + np.array((128, 110, 158)) * (1 - lit)
    sky += 0.8 * cover[..., None] * (clouds - sky)
    from_sun = np.hypot(across - SUN_X, above - SUN_HEIGHT)
    sky += (0.65 * np.exp(-((from_sun / 0.13) ** 1.2)))[..., None] * (np.array(GLOW) - sky)
    disc = np.clip((0.026 - from_sun) * width / 1.5, 0, 1)[..., None]
    return Image.fromarray((sky + disc * (np.array(SUN) - sky)).clip(0, 255).astype(np.uint8))


@dataclass
class _Street:
    """Draws what stands on the ground, the farthest first. Scene units: right, up from the ground, forward."""

    canvas: Image.Image
    random: np.random.Generator

    def __post_init__(self) -> None:
        self.width, self.height = self.canvas.size
        self.focal = FOCAL_SHARE * self.width
        self.pen = ImageDraw.Draw(self.canvas)

    def draw(self) -> None:
        """All of it."""
        for ridge in RIDGES:
            self._ridge(*ridge)
        self._ground()
        for near in (70.0, 57.0, 45.5, 35.5, 27.0, 19.5, 12.0):
            for side in (-1, 1):
                self._tree(side * self.random.uniform(3.75, 4.2), near + 6.3)
                self._house(side, near, near + 5.0)
                self._lamp(side * 2.8, near - 0.6)
        self._tree(-4.6, 9.6)
        self._tree(4.9, 9.2)

    def _at(self, x: float, y: float, z: float) -> tuple[float, float]:
        return (self.width / 2 + self.focal * x / z, self.height / 2 + self.focal * (CAMERA_HEIGHT - y) / z)

    def _hazy(self, colour: Colour, z: float, light: float = 1.0) -> tuple[int, int, int]:
        """A colour in so much light, behind so much air."""
        air = 1 - np.exp(-z / HAZE_UNITS)
        lit = np.array(colour) * light
        red, green, blue = (lit + air * (np.array(HAZE) - lit)).clip(0, 255).round().astype(int).tolist()
        return red, green, blue

    def _face(self, colour: Colour, light: float, *corners: Point) -> None:
        """A flat face of one colour; x, y, z of its corners."""
        depth = min(z for _, _, z in corners)
        self.pen.polygon([self._at(*corner) for corner in corners], self._hazy(colour, depth, light))

    def _ridge(self, colour: Colour, top: float, waves: int) -> None:
        """Mountains: a sum of waves, each half as high and twice as many as the one before."""
        x = np.linspace(0, 1, 400)
        rise = np.zeros(len(x))
        for octave in range(5):
            phase = self.random.uniform(0, 6.3)
            rise += 0.5**octave * np.abs(np.sin(np.pi * waves * 1.9**octave * x / 2 + phase))
        tops = self.height / 2 - self.width * top * (0.35 + 0.65 * rise / rise.max())
        base = self.height / 2 + 2
        line = [(float(across), float(row)) for across, row in zip(self.width * x, tops, strict=True)]
        self.pen.polygon([(0.0, base), *line, (float(self.width), base)], self._hazy(colour, 0))

    def _ground(self) -> None:
        """Grass, pavements and road, in strips so that each has its own air; joints, dashes, tufts."""
        edges = CAMERA_HEIGHT * self.focal / np.linspace(0.5, self.height / 2 + 2, 240)
        for far, near in itertools.pairwise(edges.tolist()):
            for colour, half in ((GRASS, 400.0), (PAVEMENT, 3.6), (KERB, 2.5), (ROAD, 2.36)):
                over = near * 0.998  # strips overlap: no seams
                self._face(colour, 1.0, (-half, 0, far), (half, 0, far), (half, 0, over), (-half, 0, over))
        for z in np.arange(2.4, 60, 0.9):
            for left, right in ((-3.6, -2.5), (2.5, 3.6)):
                self._face(PAVEMENT, 0.86, (left, 0, z), (right, 0, z), (right, 0, z + 0.05), (left, 0, z + 0.05))
        for z in np.arange(2.6, 90, 2.4):
            self._face(LINE, 1.0, (-0.07, 0, z), (0.07, 0, z), (0.07, 0, z + 1.2), (-0.07, 0, z + 1.2))
        for z in sorted(3.0 / self.random.uniform(0.05, 0.9, 700), reverse=True):
            x = self.random.choice((-1, 1)) * self.random.uniform(3.7, 30)
            tall, light = self.random.uniform(0.05, 0.16), self.random.uniform(0.8, 1.3)
            self._face(GRASS, light, (x - 0.05, 0, z), (x + 0.02, tall, z), (x + 0.07, 0, z))

    def _house(self, side: int, near: float, far: float) -> None:
        """Two storeys, their gable to the viewer; the sun lights what looks right along the street."""
        wall, roof = WALLS[self.random.integers(len(WALLS))], ROOFS[self.random.integers(len(ROOFS))]
        inner, width = side * self.random.uniform(4.4, 5.0), self.random.uniform(4.4, 5.4)
        outer, middle = inner + side * width, inner + side * width / 2
        eaves = self.random.uniform(3.1, 3.7)
        ridge, low, front = eaves + self.random.uniform(1.4, 1.9), eaves - 0.2, near - 0.25
        on_street, on_gable = (1.12, 0.76) if side < 0 else (0.68, 0.84)
        foot = inner - side * 0.45
        self._face(SHADOW, 1.0, (inner, 0, near), (inner, 0, far), (foot, 0, far), (foot, 0, near))
        self._face(wall, on_street, (inner, 0, near), (inner, 0, far), (inner, eaves, far), (inner, eaves, near))
        gable = ((inner, 0.0), (outer, 0.0), (outer, eaves), (middle, ridge), (inner, eaves))
        self._face(wall, on_gable, *((x, y, near) for x, y in gable))
        for z in np.linspace(near + 0.6, far - 1.25, 3):
            for y in (0.9, 2.2):
                self._window(*((inner, y + up, z + along) for along, up in WINDOW_CORNERS))
        for start in (inner + side * 0.2 * width, inner + side * 0.6 * width):
            for y in (0.9, 2.2):
                self._window(*((start + side * along, y + up, near) for along, up in WINDOW_CORNERS))
        reach, back = inner - side * 0.3, outer + side * 0.3
        slope = 1.0 if side < 0 else 0.72
        self._face(roof, slope, (reach, low, front), (reach, low, far), (middle, ridge, far), (middle, ridge, front))
        for edge in (reach, back):
            below = ((edge, low), (middle, ridge), (middle, ridge - 0.24), (edge, low - 0.2))
            self._face(roof, 0.84, *((x, y, front) for x, y in below))
        left, right = middle - 0.28, middle + 0.28
        chimney = ((left, ridge - 0.1), (right, ridge - 0.1), (right, ridge + 0.75), (left, ridge + 0.75))
        self._face(roof, 0.9, *((x, y, near + 1.4) for x, y in chimney))

    def _window(self, *corners: Point) -> None:
        around = np.array(corners)
        frame = around.mean(axis=0) + 1.22 * (around - around.mean(axis=0))
        self._face(FRAME, 0.85, *((x, y, z) for x, y, z in frame.tolist()))
        self._face(LAMPLIGHT if self.random.random() < SHARE_LIT else PANE, 1.0, *corners)

    def _lamp(self, x: float, z: float) -> None:
        self._face(TRUNK, 0.75, (x - 0.035, 0, z), (x + 0.035, 0, z), (x + 0.035, 3.0, z), (x - 0.035, 3.0, z))
        column, row = (round(place) for place in self._at(x, 3.1, z))
        radius = max(2, round(self.focal * 0.75 / z))
        away = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) / radius
        glow = 0.55 * np.clip(1 - away, 0, 1) ** 2.2 + np.clip((0.15 - away) * radius, 0, 1)
        mask = Image.fromarray((255 * glow.clip(0, 1)).astype(np.uint8))
        self.canvas.paste(self._hazy(LAMPLIGHT, z), (column - radius, row - radius), mask)

    def _tree(self, x: float, z: float) -> None:
        """A round tree in autumn, its sunny side to the right."""
        left, right, near, far = self._at(x - 0.75, 0, z)[0], self._at(x + 0.45, 0, z)[0], z - 0.25, z + 0.25
        self.pen.ellipse((left, self._at(0, 0, far)[1], right, self._at(0, 0, near)[1]), self._hazy(SHADOW, z))
        self._face(TRUNK, 0.9, (x - 0.1, 0, z), (x + 0.1, 0, z), (x + 0.07, 1.9, z), (x - 0.07, 1.9, z))
        leaves = LEAVES[self.random.integers(len(LEAVES))]
        for light in (0.66, 0.86, 1.08):
            for _ in range(16):
                right, up = self.random.normal(0, 0.36, 2).clip(-0.6, 0.6) + 0.55 * (light - 0.86)
                column, row = self._at(x + right, 2.6 + up, z)
                radius = self.focal * self.random.uniform(0.16, 0.36) / z
                box = (column - radius, row - radius, column + radius, row + radius)
                self.pen.ellipse(box, self._hazy(leaves, z, light))
