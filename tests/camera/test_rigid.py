from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_wm.camera.resampling import resampling
from sana_wm.camera.rigid import (
    matrices_from_quaternions,
    nearest_rotations,
    on_grid,
    quaternions_from_rotations,
    rigid_inverse,
    seen_from_first,
    slerp,
)


def turn(degrees: float, axis: int = 1) -> np.ndarray:
    """A rotation about one axis, written out."""
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    matrix = np.eye(3)
    one, other = [index for index in range(3) if index != axis]
    matrix[[one, other], [one, other]] = cosine
    matrix[one, other], matrix[other, one] = (sine, -sine) if axis == 1 else (-sine, sine)
    return matrix


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_quaternions_and_matrices_are_one_rotation(numbers: list[float]) -> None:
    quaternion = np.array([numbers]) / np.linalg.norm(numbers)
    rotation = matrices_from_quaternions(quaternion)
    np.testing.assert_allclose(rotation @ np.swapaxes(rotation, 1, 2), np.eye(3)[None], atol=1e-14)
    back = quaternions_from_rotations(rotation)
    np.testing.assert_allclose(back * np.sign((back * quaternion).sum()), quaternion, atol=1e-12)


def test_a_quaternion_turns_as_its_matrix_says() -> None:
    half = np.radians(15)
    np.testing.assert_allclose(matrices_from_quaternions(np.array([[np.cos(half), 0, np.sin(half), 0]]))[0], turn(30))
    np.testing.assert_allclose(
        matrices_from_quaternions(np.array([[np.cos(half), np.sin(half), 0, 0]]))[0], turn(30, axis=0)
    )


@pytest.mark.parametrize("degrees", [0.0, 1e-7, 1.0, 90.0, 179.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_slerp_turns_by_its_share_along_the_shorter_arc(degrees: float, sign: int) -> None:
    ends = quaternions_from_rotations(np.stack([turn(10), turn(10 + degrees)]))
    for share in (0.0, 0.25, 0.5, 1.0):
        between = slerp(ends[:1], sign * ends[1:], np.array([share]))
        np.testing.assert_allclose(matrices_from_quaternions(between)[0], turn(10 + share * degrees), atol=1e-12)


def test_the_nearest_rotation_of_a_rounded_one_is_near_it_and_a_rotation() -> None:
    rounded = (turn(33) @ turn(12, axis=0)).round(3)
    nearest = nearest_rotations(rounded)
    np.testing.assert_allclose(nearest.T @ nearest, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(nearest, rounded, atol=1e-3)


def test_the_grid_keeps_short_decimals_and_knows_no_negative_zero() -> None:
    decimals = np.array([0.0, 1.0, -1.0, 0.05, -0.055, 1.2345, 16.05])
    np.testing.assert_array_equal(on_grid(decimals), decimals)
    assert not np.signbit(on_grid(np.array([-0.0, -1e-17, -1e-9]))).any()


@given(st.floats(-100, 100))
def test_the_grid_moves_nothing_by_more_than_its_step(number: float) -> None:
    assert abs(on_grid(np.array([number]))[0] - number) < 3.1e-7


@pytest.mark.parametrize("number", [0.00000025, 2**-21, 1 / 256, 0.12345675])
def test_a_last_digit_does_not_decide_at_the_middles_of_grid_steps(number: float) -> None:
    around = np.nextafter(number, [-np.inf, np.inf])
    assert len({*on_grid(around).tolist(), *on_grid(np.array([number])).tolist()}) == 1


def test_relative_poses_are_the_first_cameras() -> None:
    c2w = np.tile(np.eye(4), (2, 1, 1))
    c2w[:, :3, :3] = turn(90), turn(120)
    c2w[:, :3, 3] = (1, 2, 3), (3, 2, 3)
    expected = rigid_inverse(c2w[0]) @ c2w
    np.testing.assert_allclose(seen_from_first(c2w), expected, atol=1e-15)
    np.testing.assert_allclose(seen_from_first(c2w)[1, :3, 3], (0, 0, 2), atol=1e-15)


def test_resampling_takes_old_samples_where_times_meet_and_lies_between_them_elsewhere() -> None:
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[:, :3, :3] = [turn(degrees) for degrees in (0, 30, 60, 90)]
    poses[:, 2, 3] = (0, 1, 2, 3)
    finer = resampling(np.arange(4) / 8, 16)
    np.testing.assert_array_equal(finer.before, [0, 0, 1, 1, 2, 2, 2])
    resampled = finer.of_poses(poses)
    np.testing.assert_allclose(resampled[:, :3, :3], [turn(15 * step) for step in range(7)], atol=1e-12)
    np.testing.assert_allclose(resampled[:, 2, 3], np.arange(7) / 2)
    np.testing.assert_array_equal(resampling(np.arange(7) / 30, 15).of_numbers(np.arange(7.0)), [0, 2, 4, 6])


def test_uneven_times_count_as_they_are() -> None:
    numbers = resampling(np.array([5.0, 5.1, 5.5]), 10).of_numbers(np.array([0.0, 1.0, 5.0]))
    np.testing.assert_allclose(numbers, [0, 1, 2, 3, 4, 5])
