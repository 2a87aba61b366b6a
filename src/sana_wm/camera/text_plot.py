"""A camera path as text, for the terminal: dots of Unicode braille, two across and four down in a character."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.trajectory import Trajectory

Array = NDArray[np.float64]

#: Bits of the dots of a braille character, by row and column (Unicode 2800).
DOT_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
DOTS_DOWN, DOTS_ACROSS = 4, 2
MAX_COLUMNS, MAX_ROWS = 72, 18
#: A path that hardly moves is drawn in a window of this many scene units.
MIN_SPAN = 1.0


def path_as_text(trajectory: Trajectory) -> list[str]:
    """Lines of text: the path from above (forward is up) and from the side (forward is right), S start, E end."""
    c2w = trajectory.c2w.astype(np.float64)
    right, up, forward = c2w[:, 0, 3], -c2w[:, 1, 3], c2w[:, 2, 3]
    return [
        "from above (up the page is forward)",
        *_draw(right, forward),
        "",
        "from the side (to the right is forward)",
        *_draw(forward, up),
    ]


def _draw(across: Array, along: Array) -> list[str]:
    """One view in a frame; a scene unit is as long across as along."""
    spans = np.maximum([np.ptp(across), np.ptp(along)], 1e-9)
    dots_per_unit = min(
        (MAX_COLUMNS * DOTS_ACROSS - 1) / max(spans[0], MIN_SPAN), (MAX_ROWS * DOTS_DOWN - 1) / max(spans[1], MIN_SPAN)
    )
    x = np.rint((across - across.min()) * dots_per_unit).astype(int)
    y = np.rint((along.max() - along) * dots_per_unit).astype(int)
    columns, rows = x.max() // DOTS_ACROSS + 1, y.max() // DOTS_DOWN + 1
    cells = np.zeros((rows, columns), dtype=int)
    for x_dot, y_dot in _joined(x, y):
        cells[y_dot // DOTS_DOWN, x_dot // DOTS_ACROSS] |= DOT_BITS[y_dot % DOTS_DOWN][x_dot % DOTS_ACROSS]
    characters = np.array([[chr(0x2800 + cell) if cell else " " for cell in row] for row in cells])
    characters[y[-1] // DOTS_DOWN, x[-1] // DOTS_ACROSS] = "E"
    characters[y[0] // DOTS_DOWN, x[0] // DOTS_ACROSS] = "S"
    return [
        *(f"  {''.join(row)}".rstrip() for row in characters),
        f"  {spans[0]:.2f} x {spans[1]:.2f} scene units" if max(spans) > MIN_SPAN * 1e-6 else "  does not move",
    ]


def _joined(x: NDArray[np.int_], y: NDArray[np.int_]) -> set[tuple[int, int]]:
    """The dots of a line through the points, gaps filled."""
    dots = {(int(x[0]), int(y[0]))}
    for x_from, y_from, x_to, y_to in zip(x[:-1], y[:-1], x[1:], y[1:], strict=True):
        count = max(abs(x_to - x_from), abs(y_to - y_from)) + 1
        between = np.rint(np.linspace((x_from, y_from), (x_to, y_to), count)).astype(int)
        dots |= {(int(dot_x), int(dot_y)) for dot_x, dot_y in between}
    return dots
