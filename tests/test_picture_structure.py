"""The camera plot and the overlay, held against stored maps of what stands where: by structure, not by pixels.

A picture is cut into cells and each cell named by the class of colour that rules it. Another font, renderer version or
line width moves an edge by less than a cell; a mirrored axis, a lost marker or a key in the wrong place does not pass.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.motion import read_motion
from sana_wm.camera.plot import as_png, draw_path, has_height
from sana_wm.camera.trajectory import Trajectory
from sana_wm.video.overlay import Overlay

MAPS = Path(__file__).parent / "structure"
Classify = Callable[[np.ndarray], np.ndarray]


def structure(picture: np.ndarray, classify: Classify, columns: int, rows: int) -> list[str]:
    """A picture (H, W, 3) as rows of characters: the class of a cell is the rarest one that fills 4 % of it."""
    classes = classify(picture.astype(int))
    bands = (np.array_split(band, columns, axis=1) for band in np.array_split(classes, rows, axis=0))
    names, counts = np.unique(classes, return_counts=True)
    by_rarity = names[np.argsort(counts)]

    def name(cell: np.ndarray) -> str:
        return next(str(one) for one in by_rarity if (cell == one).mean() > 0.04)

    return ["".join(name(cell) for cell in band).rstrip() for band in bands]


def assert_structure(found: list[str], name: str) -> None:
    """Every mark of either map has its like in the other one, in the same cell or next to it."""
    expected = (MAPS / f"{name}.txt").read_text().rstrip("\n").split("\n")
    for these, those in ((found, expected), (expected, found)):
        for row, line in enumerate(these):
            for column, mark in enumerate(line):
                near = "".join(other[max(0, column - 1) : column + 2] for other in those[max(0, row - 1) : row + 2])
                assert mark in f"{near} ", f"{mark} at row {row}, column {column}; the map is now:\n" + "\n".join(found)


def path_marks(picture: np.ndarray) -> np.ndarray:
    """S and E for the markers, * for the coloured line."""

    def is_near(*colour: int) -> np.ndarray:
        return np.abs(picture - colour).max(axis=-1) < 25

    colourful = picture.max(axis=-1) - picture.min(axis=-1) > 60
    return np.select([is_near(44, 160, 44), is_near(214, 39, 40), colourful], ["S", "E", "*"], " ")


def overlay_marks(picture: np.ndarray) -> np.ndarray:
    """# for what shines (held keys, knob), - for what is shaded (idle keys, disc)."""
    luma = picture.mean(axis=-1)
    return np.select([luma > 190, luma < 95], ["#", "-"], " ")


def plot_panels(action: str) -> list[np.ndarray]:
    """The pixels of the panels: from above, and from the side where there is one."""
    figure = draw_path(action_trajectory(action), fps=16, title=action)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.array(canvas.buffer_rgba())[::-1, :, :3]  # rows upwards, as matplotlib's boxes count
    panels = [axes for axes in figure.axes if axes.get_title() in TITLES]
    boxes = [axes.get_window_extent() for axes in panels]
    return [pixels[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)][::-1] for box in boxes]


TITLES = ("from above", "from the side")
PATHS = {"forward_then_right": "w-60,lw-60,w-60", "strafe_left": "a-40", "back_looking_up": "s-30,is-60"}


@pytest.mark.parametrize("name", PATHS)
def test_the_camera_plot_has_its_structure(name: str) -> None:
    panels = plot_panels(PATHS[name])
    maps = ["\n".join(structure(panel, path_marks, 24, 24)) for panel in panels]
    assert_structure("\n\n".join(maps).split("\n"), f"plot_{name}")


@pytest.mark.parametrize(
    ("action", "has_side"), [("w-60,l-20", False), ("w-20,i-9", True), ("w-20,k-1", True), ("a-40", False)]
)
def test_it_is_drawn_from_the_side_where_it_looks_up_or_down(action: str, has_side: bool) -> None:
    figure = draw_path(action_trajectory(action), fps=16, title="")
    assert [axes.get_title() for axes in figure.axes[: 1 + has_side]] == list(TITLES[: 1 + has_side])


def test_it_is_drawn_from_the_side_where_it_rises() -> None:
    c2w = np.tile(np.eye(4, dtype=np.float32), (9, 1, 1))
    assert not has_height(Trajectory(c2w))
    c2w[:, 1, 3] = np.linspace(0, 0.5, 9)
    assert has_height(Trajectory(c2w))


def test_labels_in_one_place_stand_beside_each_other() -> None:
    figure = draw_path(action_trajectory("w-20,l-9,w-9"), fps=16, title="", labels=[(0, "w"), (20, "l"), (29, "w")])
    assert [text.get_text() for text in figure.axes[0].texts] == ["w", "l, w"]


def test_the_plotted_line_is_the_path() -> None:
    trajectory = action_trajectory("w-20,lw-30,iw-10")
    figure = draw_path(trajectory, fps=16, title="a path", labels=[(0, "w-20"), (20, "lw-30")], field_of_view_deg=90)
    above, side = (next(axes for axes in figure.axes if axes.get_title() == title) for title in TITLES)
    x, y, z = trajectory.c2w[:, :3, 3].T
    for axes, across, along in ((above, x, z), (side, z, -y)):
        drawn = np.array(axes.collections[0].get_segments())
        np.testing.assert_allclose(drawn[:, 0], np.stack([across, along], axis=1)[:-1], atol=1e-6)
        assert axes.get_aspect() == 1
    assert [text.get_text() for text in above.texts] == ["w-20", "lw-30"]
    (wedge,) = above.patches
    tip, *rim = wedge.get_xy()[:-1]
    angles = np.degrees(np.arctan2(*(np.array(rim) - tip).T))
    assert (angles.min(), angles.max()) == pytest.approx((-45, 45))


def test_the_same_path_gives_the_same_bytes() -> None:
    first, second = (as_png(draw_path(action_trajectory("w-20,l-9"), fps=16, title="t")) for _ in range(2))
    assert first == second


PANELS = {"forward_right_turning": ("wd-20,wdl-20", 39), "back_looking_down": ("sk-40", 30), "still": ("none-20", 10)}


@pytest.mark.parametrize("name", PANELS)
def test_the_overlay_has_its_structure(name: str) -> None:
    action, frame = PANELS[name]
    motion = read_motion(action_trajectory(action))
    overlay = Overlay(motion.keys, motion.yaw, motion.pitch, width=640, height=352)
    frames = np.full((1, 352, 640, 3), 128, np.uint8)
    overlay.draw(frames, frame)
    corner = frames[0][352 // 2 :, : 640 // 2]
    assert_structure(structure(corner, overlay_marks, 40, 22), f"overlay_{name}")
