"""A walk is a walk in whatever world: the same bits reach the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_wm.camera.conditioning import CameraConditioning, condition_camera
from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.poses.reading import load_poses, read_poses
from sana_wm.camera.rigid import matrices_from_quaternions

QUATERNIONS = st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1)


def offsets(largest: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(-largest, largest), min_size=3, max_size=3)


def world(quaternion: list[float], offset: list[float]) -> np.ndarray:
    frame = np.eye(4)
    frame[:3, :3] = matrices_from_quaternions(np.array([quaternion]) / np.linalg.norm(quaternion))[0]
    frame[:3, 3] = offset
    return frame


def conditioning(path: Path) -> CameraConditioning:
    c2w = load_poses(path).c2w
    intrinsics = np.tile(np.float32([120, 118, 81, 47]), (len(c2w), 1))
    return condition_camera(c2w, intrinsics, height=96, width=160)


def assert_same_bits(one: CameraConditioning, other: CameraConditioning) -> None:
    for name in ("raymap", "chunk_plucker", "P", "P_inv"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name


def test_the_examples_of_three_worlds_give_the_same_bits(shared_inputs: Path) -> None:
    walk, *moved = (
        conditioning(shared_inputs / f"walk_turn_right_{name}.npy") for name in ("opencv", "zup_world", "utm")
    )
    for other in moved:
        assert_same_bits(walk, other)
    written = np.load(shared_inputs / "walk_turn_right_opencv.npy")
    np.testing.assert_allclose(load_poses(shared_inputs / "walk_turn_right_utm.npy").c2w, written, rtol=0, atol=1e-6)


@given(quaternion=QUATERNIONS, offset=offsets(6e6))
def test_no_world_frame_reaches_the_model_not_even_utm(
    shared_inputs: Path, tmp_path_factory: pytest.TempPathFactory, quaternion: list[float], offset: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("moved")
    np.save(folder / "moved.npy", world(quaternion, offset) @ np.load(shared_inputs / "walk_turn_right_opencv.npy"))
    walk = conditioning(shared_inputs / "walk_turn_right_opencv.npy")
    assert_same_bits(walk, conditioning(folder / "moved.npy"))


@given(
    action=st.lists(
        st.tuples(st.sampled_from(["w", "wl", "wj", "a", "si", "dk", "wjk", "none"]), st.integers(1, 12)),
        min_size=1,
        max_size=4,
    ),
    quaternion=QUATERNIONS,
    offset=offsets(100),
)
def test_whatever_the_walk_its_world_frame_does_not_reach_the_model(
    tmp_path_factory: pytest.TempPathFactory,
    action: list[tuple[str, int]],
    quaternion: list[float],
    offset: list[float],
) -> None:
    c2w = action_trajectory(",".join(f"{keys}-{frames}" for keys, frames in [*action, ("w", 8)])).c2w[:41]
    c2w = c2w[: len(c2w) - (len(c2w) - 1) % 8].astype(np.float64)
    folder = tmp_path_factory.mktemp("moved")
    np.save(folder / "walk.npy", c2w)
    np.save(folder / "moved.npy", world(quaternion, offset) @ c2w)
    assert_same_bits(conditioning(folder / "walk.npy"), conditioning(folder / "moved.npy"))
    assert read_poses(folder / "walk.npy").trajectory.c2w[0].tolist() == np.eye(4).tolist()
