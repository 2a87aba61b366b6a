from __future__ import annotations

import numpy as np
import pytest

from sana_wm.camera.preview import Scene, render_preview
from sana_wm.camera.trajectory import Trajectory
from sana_wm.drafting.drawn_picture import CAMERA_HEIGHT, LINE, draw_picture, intrinsics_of


@pytest.mark.parametrize(("width", "height"), [(1280, 704), (704, 1280), (320, 320)])
def test_it_has_sky_above_ground_below_and_a_road_to_the_horizon(width: int, height: int) -> None:
    picture = np.asarray(draw_picture(width, height)).astype(int)
    assert picture.shape == (height, width, 3)
    top, bottom = picture[: height // 8].mean(axis=(0, 1)), picture[-height // 8 :].mean(axis=(0, 1))
    assert top[2] > top[0]
    assert bottom[0] >= bottom[2] - 10
    assert picture.std() > 30


def test_the_same_size_gives_the_same_pixels() -> None:
    assert draw_picture(320, 176).tobytes() == draw_picture(320, 176).tobytes()


def test_a_step_forwards_in_the_preview_is_a_step_along_its_road() -> None:
    """The dashes repeat every 2.4 units: the camera that went so far sees the road as it began."""
    width, height = 640, 352
    c2w = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    c2w[1, 2, 3] = 2.4
    intrinsics = np.tile(np.array(intrinsics_of(width, height), np.float32), (2, 1))
    picture = np.asarray(draw_picture(2 * width, 2 * height))
    first, second = render_preview(picture, intrinsics, Trajectory(c2w), Scene(40.0, CAMERA_HEIGHT), scale=2)
    row = height // 2 + 30  # below the horizon, far enough that both looks are sharp
    dashes = [
        np.abs(frame[row : row + 60, width // 2].astype(int) - LINE).max(axis=1) < 60 for frame in (first, second)
    ]
    assert dashes[0].any()
    assert not dashes[0].all()
    assert (dashes[0] == dashes[1]).mean() > 0.8
