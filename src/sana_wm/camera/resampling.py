"""A camera path at other times: rotations by SLERP, positions and intrinsics linearly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.rigid import matrices_from_quaternions, quaternions_from_rotations, slerp

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Resampling:
    """Where new samples lie among old ones.

    Attributes:
        before: (N,) index of the old sample at or before each new one, at most the last but one.
        share: (N,) how far on to the next old sample, 0 to 1.
    """

    before: NDArray[np.int_]
    share: Array

    def of_numbers(self, rows: Array) -> Array:
        """Rows (F, …) at the new times."""
        share = self.share.reshape(-1, *[1] * (rows.ndim - 1))
        return rows[self.before] * (1 - share) + rows[self.before + 1] * share

    def of_poses(self, poses: Array) -> Array:
        """Poses (F, 4, 4) at the new times."""
        quaternions = quaternions_from_rotations(poses[:, :3, :3])
        resampled = self.of_numbers(poses)
        resampled[:, :3, :3] = matrices_from_quaternions(
            slerp(quaternions[self.before], quaternions[self.before + 1], self.share)
        )
        return resampled


def resampling(times_s: Array, fps: float) -> Resampling:
    """New samples at `fps` a second, from the first time on for as long as there are old ones.

    Args:
        times_s: (F,) of the old samples, two or more, rising, in seconds.
        fps: New samples a second.
    """
    elapsed = times_s - times_s[0]
    # A last sample that rounding put a little beyond the end still counts.
    wanted = np.arange(int(np.floor(elapsed[-1] * fps + 1e-6)) + 1) / fps
    before = np.clip(np.searchsorted(elapsed, wanted, side="right") - 1, 0, len(elapsed) - 2)
    share = (wanted - elapsed[before]) / (elapsed[before + 1] - elapsed[before])
    return Resampling(before, np.clip(share, 0.0, 1.0))
