from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sana_wm.camera.description import headings_deg
from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.move_path import MovePath, resolve_move
from sana_wm.camera.moves import MOVES
from sana_wm.errors import UsageError

Array = NDArray[np.float64]


def end(path: MovePath) -> Array:
    return path.trajectory.c2w[-1].astype(np.float64)


#: What an orbit turns in a second: 0.8 scene units of an arc 3 scene units off.
ORBITED = 0.8 / 3
#: Right, up, forward in scene units; yaw to the right and pitch upwards in degrees, after a second.
AFTER_A_SECOND = {
    "push-in": (0, 0, 0.8, 0, 0),
    "pull-out": (0, 0, -0.8, 0, 0),
    "truck-left": (-0.8, 0, 0, 0, 0),
    "truck-right": (0.8, 0, 0, 0, 0),
    "pan-left": (0, 0, 0, -19.2, 0),
    "pan-right": (0, 0, 0, 19.2, 0),
    "tilt-up": (0, 0, 0, 0, 19.2),
    "tilt-down": (0, 0, 0, 0, -19.2),
    "orbit-left": (-3 * np.sin(ORBITED), 0, 3 - 3 * np.cos(ORBITED), np.degrees(ORBITED), 0),
    "orbit-right": (3 * np.sin(ORBITED), 0, 3 - 3 * np.cos(ORBITED), -np.degrees(ORBITED), 0),
    "crane-up": (0, 0.8, 0, 0, 0),
    "crane-down": (0, -0.8, 0, 0, 0),
    "hold": (0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("name", MOVES)
def test_each_move_goes_where_its_name_says(name: str) -> None:
    path = resolve_move(f"{name}:1s")
    pose = end(path)
    (yaw,), (pitch,) = headings_deg(pose[None])
    assert (pose[0, 3], -pose[1, 3], pose[2, 3], yaw, pitch) == pytest.approx(AFTER_A_SECOND[name], abs=1e-5)
    assert len(path.trajectory) == 17
    np.testing.assert_array_equal(path.trajectory.c2w[0], np.eye(4))


@pytest.mark.parametrize(
    "text", ["push-in:2s,pan-right:1.5s@0.5,hold:1s", "tilt-up:1s@2,truck-left:8f@0.3,pull-out:1s@0.3"]
)
def test_what_keys_do_exactly_is_an_action(text: str) -> None:
    path = resolve_move(text)
    assert path.action is not None
    again = action_trajectory(
        path.action, translation_speed=path.translation_speed, rotation_speed_deg=path.rotation_speed_deg
    )
    np.testing.assert_array_equal(path.trajectory.c2w, again.c2w)
    assert path.trajectory.held_keys == again.held_keys
    as_poses = resolve_move(text, start=np.eye(4)).trajectory  # not by keys
    np.testing.assert_allclose(as_poses.c2w, again.c2w, rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    "text", ["crane-up:1s", "push-in:1s,orbit-left:1s", "push-in:1s,pull-out:1s@2", "pan-left:1s,tilt-up:1s@2"]
)
def test_what_no_one_action_does_takes_poses(text: str) -> None:
    path = resolve_move(text)
    assert path.action is None
    assert path.trajectory.held_keys is None


def test_speeds_are_the_numbers_that_were_written() -> None:
    path = resolve_move("push-in:1s@1.1,pan-left:1s@0.3")
    assert (path.action, path.translation_speed, path.rotation_speed_deg) == ("w-16,j-16", 0.055, 0.36)


@pytest.mark.parametrize("start_deg", [0.0, 50.0])
def test_an_orbit_keeps_its_point_ahead_and_its_distance(start_deg: float) -> None:
    path = resolve_move(f"pan-right:1s@{start_deg / 19.2 + 1e-6:.6f},orbit-left:10s:2u@2")
    c2w = path.trajectory.c2w[17:].astype(np.float64)
    ahead = c2w[:, :3, 3] + 2 * c2w[:, :3, 2]
    np.testing.assert_allclose(ahead, np.broadcast_to(ahead[0], ahead.shape), atol=2e-6)
    arc = 160 * 0.05 * 2
    assert np.linalg.norm(np.diff(c2w[:, :3, 3], axis=0), axis=1).sum() == pytest.approx(arc * 159 / 160, rel=1e-3)


def test_moves_go_on_from_a_pose() -> None:
    start = resolve_move("push-in:1s,pan-right:2s,tilt-up:1s").trajectory.c2w[-1]
    path = resolve_move("crane-up:1s,tilt-down:1s,push-in:1s", start=start)
    np.testing.assert_array_equal(path.trajectory.c2w[0], start)
    (yaw,), (pitch,) = headings_deg(end(path)[None])
    assert (yaw, pitch) == pytest.approx((38.4, 0), abs=1e-4)
    way = end(path)[:3, 3] - start[:3, 3]
    right, ahead = 0.8 * np.sin(np.radians(38.4)), 0.8 * np.cos(np.radians(38.4))
    assert way == pytest.approx((right, -0.8, ahead), abs=1e-4)


def test_looking_too_far_up_is_refused_and_not_cut() -> None:
    with pytest.raises(UsageError, match="look up too far; got 96 degrees, over the limit from frame 71 on"):
        resolve_move("tilt-up:5s")
    start = resolve_move("tilt-down:4s").trajectory.c2w[-1]
    with pytest.raises(UsageError, match="look down too far"):
        resolve_move("tilt-down:1s", start=start)
    assert resolve_move("push-in:1s", start=start).num_frames == 16


def test_moves_without_a_time_share_what_the_others_leave() -> None:
    path = resolve_move("push-in,hold:1s,pan-left", num_frames=81)
    assert [move.num_frames for move in path.moves] == [33, 16, 32]
    assert path.told == "the moves take 81 frames, 5.0625 s at 16 fps: push-in 33, hold 16, pan-left 32"
    assert resolve_move("push-in:1s", num_frames=81).num_frames == 16, "a time that is said stays"
    with pytest.raises(UsageError, match="move 1 of 1, push-in, has no time; got nothing"):
        resolve_move("push-in")
    with pytest.raises(UsageError, match="move 2 of 3, pan-left, has no time; got 1 frames"):
        resolve_move("push-in:15f,pan-left,pan-right", num_frames=16)


def test_more_than_the_model_can_count_is_refused() -> None:
    assert resolve_move("hold:8184f").num_frames == 8184
    with pytest.raises(UsageError, match="too many frames together; got 8185"):
        resolve_move("hold:8184f,push-in:1f")
