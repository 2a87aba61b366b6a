from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.motion import ALL_KEYS, read_keys, read_motion
from sana_wm.camera.poses.reading import load_poses
from sana_wm.camera.trajectory import Trajectory


@pytest.mark.parametrize("index", [0, 1])
def test_motion_of_poses_is_upstreams(golden: Path, index: int) -> None:
    reference = np.load(golden / "overlay_semantics.npz")
    motion = read_motion(Trajectory(reference[f"c2w_{index}"]))
    np.testing.assert_array_equal(motion.keys, reference[f"keys_{index}"])
    np.testing.assert_allclose(motion.yaw, reference[f"yaw_{index}"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(motion.pitch, reference[f"pitch_{index}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("action", "axis", "sign"), [("l-8", "yaw", 1), ("j-8", "yaw", -1), ("i-8", "pitch", 1)])
def test_right_and_up_are_positive(action: str, axis: str, sign: int) -> None:
    motion = read_motion(action_trajectory(action))
    still = {"yaw": motion.pitch, "pitch": motion.yaw}[axis]
    assert (sign * getattr(motion, axis) > 0.3).all()
    np.testing.assert_allclose(still, 0, atol=1e-6)


def test_an_actions_keys_are_shown_though_they_turn_the_camera() -> None:
    turning = action_trajectory("d-8", dialect="smoothed")
    assert read_motion(turning).keys.tolist() == [[False, False, False, True]] * 9
    assert not read_motion(Trajectory(turning.c2w)).keys.any()


def test_an_actions_keys_follow_their_frames_and_the_last_repeats() -> None:
    motion = read_motion(action_trajectory("wa-1,s-1"))
    assert motion.keys.tolist() == [
        [True, True, False, False],
        [False, False, True, False],
        [False, False, True, False],
    ]


@pytest.mark.parametrize("num_frames", [321, 1])
def test_real_paths_are_read(demo: Path, num_frames: int) -> None:
    motion = read_motion(Trajectory(load_poses(demo / "demo_1_pose.npy").c2w[:num_frames]))
    assert motion.keys.shape == (num_frames, 4)
    assert motion.yaw.shape == motion.pitch.shape == (num_frames,)
    assert max(np.abs(motion.yaw).max(), np.abs(motion.pitch).max()) <= 1


def test_demo_0_walks_forward_turns_left_then_right(demo: Path) -> None:
    motion = read_motion(load_poses(demo / "demo_0_pose.npy"))
    assert motion.keys.tolist() == [[True, False, False, False]] * 321
    assert motion.yaw[110] < -0.9
    assert motion.yaw[200] > 0.9
    np.testing.assert_allclose(motion.pitch, 0, atol=1e-6)


def test_a_still_camera_presses_and_turns_nothing() -> None:
    motion = read_motion(Trajectory(np.tile(np.eye(4, dtype=np.float32), (5, 1, 1))))
    assert not motion.keys.any()
    assert not motion.yaw.any()
    assert not motion.pitch.any()


def test_steps_far_below_the_quick_ones_are_no_key() -> None:
    c2w = np.tile(np.eye(4, dtype=np.float32), (21, 1, 1))
    c2w[1:, 2, 3] = np.cumsum([0.1] * 18 + [0.04, 0.02])
    assert read_motion(Trajectory(c2w)).keys[:, 0].tolist() == [True] * 19 + [False] * 2


def test_slow_turning_is_shown_as_slow() -> None:
    motion = read_motion(action_trajectory("l-40", rotation_speed_deg=0.1))
    assert motion.yaw[-1] == pytest.approx(0.2, abs=1e-3)


def pressed(trajectory: Trajectory) -> list[str]:
    """Letters of each frame."""
    return ["".join(key for key, held in zip(ALL_KEYS, row, strict=True) if held) for row in read_keys(trajectory)]


def test_all_eight_keys_follow_an_action() -> None:
    assert pressed(action_trajectory("wl-2,i-1")) == ["wl", "wl", "i", "i"]


@pytest.mark.parametrize("key", ALL_KEYS)
def test_each_key_is_read_off_the_path_that_it_makes(key: str) -> None:
    assert pressed(Trajectory(action_trajectory(f"{key}-4", dialect="pr379").c2w)) == [key] * 5


def test_a_path_of_one_pose_presses_nothing() -> None:
    assert pressed(Trajectory(np.eye(4, dtype=np.float32)[None])) == [""]
