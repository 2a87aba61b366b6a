"""A poses file as a camera path: rigid, camera-to-world, OpenCV axes, seen from its first pose, at the video's rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.arrays import real_numbers
from sana_wm.camera.plausibility import doubts_about_convention
from sana_wm.camera.poses.contents import PixelIntrinsics, PosesFile, StatedIntrinsics
from sana_wm.camera.poses.formats import read_poses_file
from sana_wm.camera.poses.rigidity import rigid_poses
from sana_wm.camera.resampling import resampling
from sana_wm.camera.rigid import on_grid, rigid_inverse, seen_from_first
from sana_wm.camera.trajectory import Trajectory
from sana_wm.errors import UsageError
from sana_wm.names import PosesConvention

Array = NDArray[np.float64]
#: A rate, or by the file's own times.
PosesRate = float | Literal["timestamps"]

#: y and z of OpenGL's camera axes point the other way; as a motion, before the camera's own.
OPENGL_AXES = np.diag([1.0, -1.0, -1.0, 1.0])
#: Times that differ from the video's rate by more are worth a word.
RATE_TOLERANCE = 0.05
#: Positions whose float32 digits are coarser than this, in scene units, make steps of their own.
MAX_FLOAT32_STEP = 1e-3


@dataclass(frozen=True, eq=False)
class ReadPoses:
    """What a poses file gives.

    Attributes:
        trajectory: The path, float32, seen from its first pose, without keys.
        format: The file's format, in words.
        convention: How its matrices were read.
        intrinsics: Those that the file states, a row a pose if they differ.
        notes: What a user should be told.
    """

    trajectory: Trajectory
    format: str
    convention: PosesConvention
    intrinsics: StatedIntrinsics | None
    notes: tuple[str, ...]


def load_poses(path: Path) -> Trajectory:
    """The path of a poses file in its format's own convention, a pose a frame. Raises as `read_poses` does."""
    return read_poses(path).trajectory


def read_poses(
    path: Path,
    *,
    convention: PosesConvention | None = None,
    poses_fps: PosesRate | None = None,
    video_fps: float = 16,
) -> ReadPoses:
    """Read a poses file of any format in `formats`.

    Args:
        path: The file.
        convention: What its matrices are; `None` takes what the format says, for arrays `opencv_c2w`.
        poses_fps: Poses a second, or that the file's times count; `None` takes a pose a frame.
        video_fps: Frames a second.

    Raises:
        UsageError: Not readable, of no known format, not rigid, or without the times that were asked for.
    """
    format_name, file = read_poses_file(path)
    notes = list(file.notes)
    real_numbers(file.matrices, path, holds="poses", expected="rigid motions")
    poses = rigid_poses(file.matrices, path, notes)
    if convention is not None and convention != file.convention and format_name not in ("npy", "npz"):
        notes.append(f"read as {convention}, as told, though {format_name} means {file.convention}")
    _note_lost_digits(poses, notes)
    read_as = convention or file.convention
    c2w = camera_to_world(poses, read_as)
    notes += doubts_about_convention(c2w, read_as)
    relative = seen_from_first(c2w)
    intrinsics = file.intrinsics
    if poses_fps is not None:
        relative, intrinsics = _resampled(relative, file, path, poses_fps, video_fps, notes)
    elif file.times_s is not None and (elapsed := float(np.ptp(file.times_s))) > 0:
        rate = (len(relative) - 1) / elapsed
        if abs(rate / video_fps - 1) > RATE_TOLERANCE:
            notes.append(
                f"its times say {rate:.3g} poses a second, the video shows {video_fps:g}, and each pose is taken for a "
                'frame; "poses_fps": "timestamps" resamples it'
            )
    trajectory = Trajectory(on_grid(relative).astype(np.float32))
    return ReadPoses(trajectory, format_name, read_as, intrinsics, tuple(notes))


def camera_to_world(poses: Array, convention: PosesConvention) -> Array:
    """Poses (F, 4, 4) of a convention as camera-to-world with OpenCV axes."""
    if convention == "opencv_w2c":
        return rigid_inverse(poses)
    return poses @ OPENGL_AXES if convention == "opengl_c2w" else poses


def _note_lost_digits(poses: Array, notes: list[str]) -> None:
    """Say that positions far from the origin were written in float32, whose steps are then coarser than the walk's."""
    positions = poses[:, :3, 3]
    farthest = np.abs(positions).max()
    step = float(np.spacing(np.float32(farthest)))
    if (
        step > MAX_FLOAT32_STEP
        and (positions == positions.astype(np.float32)).all()
        and np.ptp(positions, axis=0).any()
    ):
        notes.append(
            f"its positions are up to {farthest:.3g} units from the origin and have float32's digits only, {step:.2g} "
            "units apart: save them in float64, or relative to the first pose"
        )


def _resampled(
    relative: Array, file: PosesFile, path: Path, poses_fps: PosesRate, video_fps: float, notes: list[str]
) -> tuple[Array, StatedIntrinsics | None]:
    times_s = file.times_s if poses_fps == "timestamps" else np.arange(len(relative)) / poses_fps
    if times_s is None:
        raise UsageError(
            f"camera.poses_fps is timestamps, and the poses file has none: {path}",
            expected="a file of RealEstate10K, CameraCtrl or TUM",
            next_step="Give poses_fps as a number of poses a second.",
        )
    if poses_fps == video_fps or len(relative) < 2:
        return relative, file.intrinsics
    if (falls := np.flatnonzero(np.diff(times_s) <= 0)).size:
        raise UsageError(
            f"the times in the poses file do not rise: {path}",
            got=f"{times_s[falls[0] + 1]:.9g} s after {times_s[falls[0]]:.9g} s at pose {falls[0] + 1}",
            expected="rising times",
            next_step="Sort the poses by time, or give poses_fps as a number.",
        )
    samples = resampling(times_s, video_fps)
    rate = (len(relative) - 1) / float(times_s[-1] - times_s[0])
    notes.append(
        f"{len(relative)} poses at {rate:.4g} a second resampled to {len(samples.before)} at {video_fps:g} a second: "
        "rotations by SLERP, positions linearly"
    )
    intrinsics = file.intrinsics
    if isinstance(intrinsics, PixelIntrinsics) and len(intrinsics.rows) > 1:
        intrinsics = replace(intrinsics, rows=samples.of_numbers(intrinsics.rows))
    return samples.of_poses(relative), intrinsics
