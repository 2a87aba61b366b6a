from __future__ import annotations

import numpy as np
import pytest

from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.preview import BACKDROP_COLOUR, Scene, fitting_backdrop, render_preview
from sana_wm.camera.trajectory import Trajectory

HEIGHT, WIDTH, SCALE = 88, 160, 2
INTRINSICS = np.array([[130.0, 130.0, 80.0, 44.0]], dtype=np.float32)


def picture_with(*spots: tuple[int, int]) -> np.ndarray:
    """A grey picture at twice the frames' size with white squares, 8x8, around these (column, row)."""
    picture = np.full((HEIGHT * SCALE, WIDTH * SCALE, 3), 90, dtype=np.uint8)
    for column, row in spots:
        picture[SCALE * row - 4 : SCALE * row + 4, SCALE * column - 4 : SCALE * column + 4] = 255
    return picture


def render(picture: np.ndarray, trajectory: Trajectory, camera_height: float | None = 1.6) -> np.ndarray:
    intrinsics = np.broadcast_to(INTRINSICS, (len(trajectory), 4))
    scene = Scene(fitting_backdrop(trajectory), camera_height)
    return np.stack(list(render_preview(picture, intrinsics, trajectory, scene, scale=SCALE)))


def spot(frame: np.ndarray) -> tuple[float, float]:
    """(column, row) of the white spot's middle."""
    rows, columns = np.nonzero(frame.min(axis=-1) > 200)
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


def test_the_first_frame_is_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    picture = picture.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    first = render(picture, action_trajectory("w-1"))[0]
    assert np.abs(first.astype(int) - picture[::SCALE, ::SCALE]).max() <= 1


def test_a_spot_on_the_ground_moves_as_geometry_says() -> None:
    """1.6 units below and z ahead it stands at row cy + f * 1.6 / z; after 4 more at z - 4."""
    z = 130 * 1.6 / 20  # row 64 is 20 below the horizon
    frames = render(picture_with((80, 64)), action_trajectory("w-80"))
    assert spot(frames[0]) == pytest.approx((80, 64), abs=0.5)
    assert spot(frames[80]) == pytest.approx((80, 44 + 130 * 1.6 / (z - 4)), abs=0.7)


@pytest.mark.parametrize(("action", "shift"), [("l-10", (-1, 0)), ("j-10", (1, 0)), ("i-5", (0, 1)), ("d-10", (-1, 0))])
def test_what_is_far_moves_against_the_camera(action: str, shift: tuple[int, int]) -> None:
    frames = render(picture_with((80, 30)), action_trajectory(action), camera_height=None)
    moved = np.subtract(spot(frames[-1]), spot(frames[0]))
    assert np.sign(np.where(np.abs(moved) < 0.5, 0, moved)).tolist() == list(shift)


def test_turning_moves_the_picture_by_the_tangent() -> None:
    frames = render(picture_with((80, 30)), action_trajectory("l-10"), camera_height=None)
    assert spot(frames[-1])[0] == pytest.approx(80 - 130 * np.tan(np.radians(12)), abs=1)


def test_beyond_the_picture_there_are_lines_to_see_the_motion_by() -> None:
    behind = render(picture_with(), action_trajectory("l-160"), camera_height=None)[150]  # turned by 180 degrees
    colours = np.unique(behind.reshape(-1, 3), axis=0)
    assert BACKDROP_COLOUR.astype(np.uint8).tolist() in colours.tolist()
    assert len(colours) == 2
    ground = render(picture_with(), action_trajectory("l-160"))[150]
    assert len(np.unique(ground[HEIGHT // 2 + 8 :].reshape(-1, 3), axis=0)) > 2


def test_a_path_that_does_not_begin_at_the_origin_shows_the_same() -> None:
    path = action_trajectory("w-10,l-6")
    moved = Trajectory((action_trajectory("d-30,j-40").c2w[-1] @ path.c2w).astype(np.float32))
    difference = render(picture_with((60, 60)), path).astype(int) - render(picture_with((60, 60)), moved)
    assert np.abs(difference).max() <= 3
