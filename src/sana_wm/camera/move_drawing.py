"""Named moves as little drawings (SVG), for the documentation and whoever shows moves to choose from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.move_path import resolve_move
from sana_wm.camera.moves import MOVES, ORBIT_DISTANCE

Array = NDArray[np.float64]

#: Of a drawing, in SVG units, with room for a camera's glyph around the path.
WIDTH, HEIGHT, MARGIN = 120, 90, 22
#: A path is drawn at this many units a scene unit, or smaller where it would not fit.
MOST_SCALE = 24.0
#: What a move does in this time is drawn, with a camera each second.
SECONDS, FPS = 3, 16
#: Of a camera's glyph: how far it sees, and half its field of view.
SIGHT, HALF_VIEW_DEG = 14.0, 28.0
#: Readable on light and on dark pages.
PATH_COLOUR, CAMERA_COLOUR = "#808080", "#2f81f7"


def draw_move(name: str) -> str:
    """A move as an SVG file's content: from above, up the page is forward; what rises or tilts from the side.

    The same move gives the same text.

    Args:
        name: A name in `MOVES`.
    """
    c2w = resolve_move(f"{name}:{SECONDS}s", FPS).trajectory.c2w.astype(np.float64)
    right, up, forward = c2w[:, 0], -c2w[:, 1], c2w[:, 2]
    from_side = bool(MOVES[name].up or MOVES[name].pitch)
    across, along = (forward, up) if from_side else (right, forward)
    points, views = (np.stack([across[:, column], along[:, column]], axis=1) for column in (3, 2))
    target = np.array([[0.0, float(ORBIT_DISTANCE)]]) if MOVES[name].orbits else np.empty((0, 2))
    placed, (target_placed,) = _placed(points, target)
    cameras = range(0, len(c2w), FPS)
    body = [
        *(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{PATH_COLOUR}"/>'  # what an orbit goes round
            for x, y in target_placed
        ),
        f'<polyline points="{_spelled(placed)}" fill="none" stroke="{PATH_COLOUR}" stroke-width="2"/>',
        *(
            f'<polygon points="{_spelled(_glyph(placed[frame], views[frame]))}" fill="{CAMERA_COLOUR}" '
            f'fill-opacity="{0.25 + 0.75 * frame / cameras[-1]:.2f}"/>'
            for frame in cameras
        ),
        f'<text x="4" y="{HEIGHT - 4}" font-family="sans-serif" font-size="9" fill="{PATH_COLOUR}">'
        f"{'from the side' if from_side else 'from above'}</text>",
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" role="img">',
            f"<title>{name}: the camera {MOVES[name].does}</title>",
            *body,
            "</svg>\n",
        ]
    )


def _placed(points: Array, *others: Array) -> tuple[Array, list[Array]]:
    """Points (N, 2) in scene units on the page, and others by the same scale; the page's y points down."""
    everything = np.concatenate([points, *others])
    low, high = everything.min(axis=0), everything.max(axis=0)
    room = np.array([WIDTH, HEIGHT]) - 2 * MARGIN
    scale = min(MOST_SCALE, *(room / np.maximum(high - low, 1e-9)))
    middle = np.array([WIDTH, HEIGHT]) / 2
    placed = [middle + (some - (low + high) / 2) * scale * [1, -1] for some in (points, *others)]
    return placed[0], placed[1:]


def _glyph(at: Array, view: Array) -> Array:
    """A camera: the wedge that it sees."""
    heading, half = np.arctan2(view[0], view[1]), np.radians(HALF_VIEW_DEG)
    rim = [at + SIGHT * np.array([np.sin(angle), -np.cos(angle)]) for angle in (heading - half, heading + half)]
    return np.stack([at, *rim])


def _spelled(points: Array) -> str:
    rounded = np.round(points, 1) + 0.0  # no -0.0
    kept = [point for place, point in enumerate(rounded) if not place or (point != rounded[place - 1]).any()]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in kept)
