"""Whether matrices are rigid motions; those that rounding took a little off are put right, and it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.rigid import nearest_rotations
from sana_wm.errors import UsageError

Array = NDArray[np.float64]

#: Largest deviation of `R.T @ R` from the identity, per element: three digits after the point come to 1.7e-3.
ROTATION_TOLERANCE = 2e-3
#: From here on it is said; float32 comes to 1e-6.
ROTATION_WORTH_A_WORD = 1e-5
#: Largest deviation of the last row from 0 0 0 1: what a chain of float32 products leaves.
LAST_ROW_TOLERANCE = 1e-5


def rigid_poses(matrices: Array, path: Path, notes: list[str]) -> Array:
    """Matrices (F, 4, 4) as the rigid motions that they nearly are.

    Args:
        matrices: As the file holds them.
        path: The file, for messages.
        notes: Receives what a user should be told.

    Raises:
        UsageError: One is no rigid motion; the first such one is named.
    """
    rotations = matrices[:, :3, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        gram_deviation = np.abs(np.swapaxes(rotations, 1, 2) @ rotations - np.eye(3)).max(axis=(1, 2))
    row_deviation = np.abs(matrices[:, 3] - (0, 0, 0, 1)).max(axis=1)
    _refuse_distortion(gram_deviation, matrices, path)
    _refuse_last_row(row_deviation, matrices, path)
    if (rounded := gram_deviation > ROTATION_WORTH_A_WORD).any():
        notes.append(
            f"{rounded.sum()} of {len(matrices)} rotations have few digits (off by {gram_deviation.max():.1g} in "
            "R^T R) and were re-orthonormalised"
        )
    if (off := row_deviation > 0).any():
        notes.append(
            f"{off.sum()} of {len(matrices)} matrices have a last row that is off by {row_deviation.max():.1g}: taken "
            "as 0 0 0 1, and the rotations re-orthonormalised"
        )
    rigid = matrices.copy()
    rigid[:, :3, :3] = nearest_rotations(rotations)
    rigid[:, 3] = 0, 0, 0, 1
    return rigid


def _refuse_distortion(gram_deviation: Array, matrices: Array, path: Path) -> None:
    determinants = np.linalg.det(matrices[:, :3, :3])
    for frame in np.flatnonzero(~(gram_deviation <= ROTATION_TOLERANCE) | (determinants < 0)):
        where = f"pose {frame} of {len(matrices)} in {path}"
        if not gram_deviation[frame] <= ROTATION_TOLERANCE:
            lengths = np.linalg.norm(matrices[frame, :3, :3], axis=0)
            scaled = np.ptp(lengths) <= ROTATION_TOLERANCE * lengths.max()
            raise UsageError(
                f"{where} has a rotation that is not orthonormal",
                got=f"a deviation of {gram_deviation[frame]:.2g} in R^T R",
                expected=f"{ROTATION_TOLERANCE:g} at most",
                next_step=f"Divide the upper-left 3x3 by its scale, {lengths.mean():.6g}."
                if scaled
                else "Take scale and shear out of the upper-left 3x3.",
            )
        raise UsageError(
            f"{where} has a mirrored rotation",
            got=f"determinant {determinants[frame]:.3g}",
            expected="+1",
            next_step="Convert to OpenCV axes (x right, y down, z forward) by flipping two axes, not one.",
        )


def _refuse_last_row(row_deviation: Array, matrices: Array, path: Path) -> None:
    for frame in np.flatnonzero(row_deviation > LAST_ROW_TOLERANCE):
        last_column = np.abs(matrices[frame, :3, 3]).max()
        transposed = last_column == 0 and matrices[frame, 3, 3] == 1
        raise UsageError(
            f"pose {frame} of {len(matrices)} in {path} has a wrong last row",
            got=matrices[frame, 3].tolist(),
            expected=[0.0, 0.0, 0.0, 1.0],
            next_step="The matrices look transposed: save array.swapaxes(1, 2)."
            if transposed
            else "Save matrices whose last column holds the translation.",
        )
