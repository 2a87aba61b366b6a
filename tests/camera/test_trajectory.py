from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.poses.reading import load_poses
from sana_wm.camera.trajectory import MAX_NUM_FRAMES, Trajectory, valid_num_frames_near
from sana_wm.errors import UsageError
from sana_wm.variants import BIDIRECTIONAL, MODELS


def test_the_nearest_length_is_upstreams_wherever_upstream_gives_a_possible_one(golden: Path) -> None:
    compared = 0
    for wanted, bound, snapped in json.loads((golden / "snap_num_frames.json").read_text())["rows"]:
        available = MAX_NUM_FRAMES if bound is None else bound
        if BIDIRECTIONAL.least_frames <= snapped <= available:
            assert valid_num_frames_near(wanted, available=available)[0] == snapped
            compared += 1
    assert compared > 100


@given(st.integers(-50, 10_000), st.integers(0, 10_000))
def test_neighbours_are_valid_and_nothing_lies_between(wanted: int, available: int) -> None:
    near = valid_num_frames_near(wanted, available=available)
    valid = range(BIDIRECTIONAL.least_frames, min(available, MAX_NUM_FRAMES) + 1, 8)
    assert set(near) <= set(valid)
    assert (wanted in near) == (wanted in valid)
    if valid:
        assert abs(near[0] - wanted) == min(abs(length - wanted) for length in valid)
    else:
        assert near == ()


@pytest.mark.parametrize(
    ("frames", "num_frames", "message"),
    [
        (40, 20, "and the camera path has 41 poses; got 20; expected 17 or 25. Set num_frames to 17,"),
        (40, 49, "; got 49; expected 41. Set num_frames to 41, or change the camera path."),
        (40, 0, "; got 0; expected 9."),
        (39, 38, "; got 38; expected 33. Set num_frames to 33,"),
        (7, 9, "the camera path is too short for a video; got 8 poses; expected 9 or more. Lengthen the path"),
    ],
)
def test_an_impossible_length_is_refused_with_the_possible_ones(frames: int, num_frames: int, message: str) -> None:
    with pytest.raises(UsageError) as error:
        action_trajectory(f"w-{frames}").first(num_frames)
    assert message in str(error.value)


def test_poses_and_keys_are_cut_together() -> None:
    trajectory = action_trajectory("w-8,d-8").first(9)
    assert trajectory.c2w.shape == (9, 4, 4)
    assert trajectory.held_keys == (frozenset("w"),) * 8
    rest = action_trajectory("w-8,d-8").without_first(8)
    assert len(rest) == 9
    assert rest.held_keys == (frozenset("d"),) * 8


@pytest.mark.parametrize("name", ["demo_0", "demo_1"])
def test_real_poses_load_but_for_the_grid(demo: Path, name: str) -> None:
    path = demo / f"{name}_pose.npy"
    trajectory = load_poses(path)
    assert trajectory.c2w.dtype == np.float32
    assert trajectory.held_keys is None
    np.testing.assert_allclose(trajectory.c2w, np.load(path), rtol=1e-7, atol=3e-7)
    assert trajectory.first(321).c2w.shape == (321, 4, 4)


def poses(**changes: float) -> np.ndarray:
    """Three identities, the second changed at `rc` = row, column."""
    c2w = np.tile(np.eye(4), (3, 1, 1))
    for place, value in changes.items():
        c2w[1, int(place[1]), int(place[2])] = value
    return c2w


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.eye(4), "the poses file has the wrong shape"),
        (np.empty((0, 4, 4)), "the poses file"),
        (poses().reshape(3, 16), "got (3, 16); expected (F, 4, 4) camera-to-world poses"),
        (poses().astype(complex), "does not hold real numbers"),
        (poses() > 0, "got dtype bool"),
        (np.array([{}]), "numpy.save(path, array), numbers only"),
        (poses(_03=np.nan), "got 1 of 48 values; expected finite float32 numbers"),
        (poses(_03=1e39), "got 1 of 48 values"),
        (poses(_00=1.01), "pose 1 of 3 in {path} has a rotation that is not orthonormal; got a deviation of 0.02"),
        (poses(_00=1e30), "not orthonormal"),
        (poses(_11=-1), "pose 1 of 3 in {path} has a mirrored rotation; got determinant -1; expected +1"),
        (poses(_30=5), "pose 1 of 3 in {path} has a wrong last row; got [5.0, 0.0, 0.0, 1.0]"),
        (np.swapaxes(poses(_03=2), 1, 2), "wrong last row"),
    ],
)
def test_what_is_no_camera_path_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "poses.npy"
    np.save(path, array)
    with pytest.raises(UsageError) as error:
        load_poses(path)
    assert message.format(path=path) in str(error.value)
    assert None not in (error.value.got, error.value.expected, error.value.next_step)


def test_a_rotation_written_with_four_digits_is_taken(tmp_path: Path) -> None:
    rounded = action_trajectory("il-50").c2w.round(4)
    np.save(tmp_path / "poses.npy", rounded)
    loaded = load_poses(tmp_path / "poses.npy").c2w
    np.testing.assert_allclose(loaded, rounded, atol=1e-4)
    rotations = loaded[:, :3, :3].astype(np.float64)
    assert np.abs(np.swapaxes(rotations, 1, 2) @ rotations - np.eye(3)).max() < 2e-6


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="FileNotFoundError"):
        load_poses(tmp_path / "absent.npy")


@given(st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("damaged") / "poses.npy"
    np.save(path, poses().astype(np.float32))
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, 127), max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        outcome = load_poses(path)
    except UsageError as error:
        outcome = error
    assert len(outcome) > 0 if isinstance(outcome, Trajectory) else "\n" not in str(outcome)


@pytest.mark.parametrize(("num_frames", "available", "near"), [(97, 85, (73,)), (60, 85, (49, 73)), (49, 48, ())])
def test_lengths_of_the_streaming_model_are_whole_chunks(num_frames: int, available: int, near: tuple[int, ...]):
    assert set(valid_num_frames_near(num_frames, available=available, model=MODELS["streaming"])) == set(near)
