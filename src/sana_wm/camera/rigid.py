"""Rigid motions in float64: inverses, nearest rotations, quaternions, and the grid on which a path's numbers lie."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Relative poses are rounded to 5e-7. A walk in another world frame is the same walk but for float64's last digits:
#: 1e-16 of a rotation, 1e-9 of UTM coordinates (a northing has seven digits before the point). A finer grid would let
#: those through to the model; a coarser one would move the path by more than 1e-6.
GRID_STEPS_PER_UNIT = 2_000_000
#: Where rounding turns upwards, off the middle of a grid step: the middles themselves are numbers that paths are made
#: of (float32 values, decimals with few digits), and there a last digit would decide. No short number lies at pi/32.
TURNING_POINT = 0.5 + math.pi / 32


def rigid_inverse(matrices: Array) -> Array:
    """Inverse of rigid motions (..., 4, 4): the rotation's transpose, not a general inverse."""
    inverse = np.zeros_like(matrices)
    rotation = np.swapaxes(matrices[..., :3, :3], -1, -2)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3:] = -rotation @ matrices[..., :3, 3:]
    inverse[..., 3, 3] = 1.0
    return inverse


def seen_from_first(c2w: Array) -> Array:
    """Poses (F, 4, 4) in the first camera's axes.

    Positions are subtracted before they are turned: far from the origin, the other order loses the path's digits.
    """
    relative = np.zeros_like(c2w)
    first_rotation = c2w[0, :3, :3].T
    relative[:, :3, :3] = first_rotation @ c2w[:, :3, :3]
    relative[:, :3, 3] = (c2w[:, :3, 3] - c2w[0, :3, 3]) @ first_rotation.T
    relative[:, 3, 3] = 1.0
    return relative


def on_grid(relative: Array) -> Array:
    """Relative poses with every number on the grid, so that a walk has the same bits in every world frame; no -0.0."""
    return np.floor(relative * GRID_STEPS_PER_UNIT + TURNING_POINT) / GRID_STEPS_PER_UNIT


def nearest_rotations(matrices: Array) -> Array:
    """The rotations (..., 3, 3) nearest to matrices that are rotations but for rounding (polar decomposition)."""
    left, _, right = np.linalg.svd(matrices)
    return left @ right


def matrices_from_quaternions(quaternions: Array) -> Array:
    """Matrices (N, 3, 3) of quaternions (N, 4), w first; one of length s gives a rotation times s squared.

    Left so, the check of matrices speaks for quaternions too.
    """
    w, x, y, z = quaternions.T
    return np.stack(
        [
            np.stack([w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)], axis=-1),
            np.stack([2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)], axis=-1),
            np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z], axis=-1),
        ],
        axis=-2,
    )


def quaternions_from_rotations(rotations: Array) -> Array:
    """Unit quaternions (N, 4), w first, of rotations (N, 3, 3); good at every angle.

    Source: Bar-Itzhack, "New method for extracting the quaternion from a rotation matrix", 2000: the eigenvector of
    the largest eigenvalue.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = np.moveaxis(rotations, 0, -1)
    symmetric = np.stack(
        [
            np.stack([xx + yy + zz, zy - yz, xz - zx, yx - xy], axis=-1),
            np.stack([zy - yz, xx - yy - zz, xy + yx, xz + zx], axis=-1),
            np.stack([xz - zx, xy + yx, yy - xx - zz, yz + zy], axis=-1),
            np.stack([yx - xy, xz + zx, yz + zy, zz - xx - yy], axis=-1),
        ],
        axis=-2,
    )
    return np.linalg.eigh(symmetric)[1][..., -1]


def slerp(start: Array, end: Array, share: Array) -> Array:
    """Unit quaternions (N, 4) on the shorter great arc from `start` to `end`, `share` (N,) of the way."""
    cosine = (start * end).sum(axis=1)
    end = np.where(cosine[:, None] < 0, -end, end)
    # The angle by the chord: by the cosine, small ones lose their digits.
    angle = 2 * np.arcsin(np.clip(np.linalg.norm(end - start, axis=1) / 2, 0, math.sqrt(0.5)))
    sine = np.sin(angle)
    turning = sine > 1e-12
    safe = np.where(turning, sine, 1.0)
    from_start = np.where(turning, np.sin((1 - share) * angle) / safe, 1 - share)
    from_end = np.where(turning, np.sin(share * angle) / safe, share)
    between = from_start[:, None] * start + from_end[:, None] * end
    return between / np.linalg.norm(between, axis=1, keepdims=True)
