"""Poses as tables of numbers, one row a pose: RealEstate10K and CameraCtrl, TUM, KITTI, MotionCtrl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from sana_wm.camera.poses.contents import PixelIntrinsics, PosesFile, are_poses, four_by_four
from sana_wm.camera.poses.text import number_table
from sana_wm.camera.rigid import matrices_from_quaternions
from sana_wm.errors import UsageError

MICROSECONDS_PER_SECOND = 1e6


def read_realestate10k(text: str, path: Path) -> PosesFile:
    """RealEstate10K, which CameraCtrl took over: an address, then rows of 19.

    Time in microseconds, fx, fy, cx, cy as shares of width and height, two unused, and a 3x4 world-to-camera matrix.

    Source: google.github.io/realestate10k, "Data format".
    """
    rows = number_table(text, 19, path)
    return PosesFile(
        four_by_four(rows[:, 7:].reshape(-1, 3, 4)),
        "opencv_w2c",
        rows[:, 0] / MICROSECONDS_PER_SECOND,
        PixelIntrinsics(rows[:, 1:5], (1, 1)),
    )


def read_tum(text: str, path: Path) -> PosesFile:
    """TUM RGB-D: rows of time in seconds, position, quaternion x y z w; camera-to-world.

    Source: cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats.
    """
    rows = number_table(text, 8, path)
    matrices = np.tile(np.eye(4), (len(rows), 1, 1))
    matrices[:, :3, :3] = matrices_from_quaternions(rows[:, [7, 4, 5, 6]])
    matrices[:, :3, 3] = rows[:, 1:4]
    return PosesFile(matrices, "opencv_c2w", rows[:, 0])


def read_kitti(text: str, path: Path) -> PosesFile:
    """KITTI odometry: rows of a 3x4 camera-to-world matrix, x right, y down, z forward.

    Source: the development kit of cvlibs.net/datasets/kitti/eval_odometry.php.
    """
    return PosesFile(four_by_four(number_table(text, 12, path).reshape(-1, 3, 4)), "opencv_c2w")


def read_matrix_rows(text: str, path: Path) -> PosesFile:
    """Rows of a whole 4x4 matrix, which no format owns: taken as a `.npy` is."""
    return PosesFile(number_table(text, 16, path).reshape(-1, 4, 4), "opencv_c2w")


def read_json_list(data: list[Any], path: Path) -> PosesFile:
    """A JSON list of matrices: rows of 12 numbers as MotionCtrl has them (world-to-camera), or nested as in a `.npy`.

    Source: examples/camera_poses of TencentARC/MotionCtrl: going on along z lowers the last number.
    """
    try:
        values = np.array(data, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(
            f"the poses file is a JSON list, but not of matrices: {path}",
            got=" ".join(str(error).split()),
            expected="rows of 12 numbers, or 3x4 or 4x4 matrices",
            next_step="Look whether an entry has another length than the others.",
        ) from error
    if values.ndim == 2 and values.shape[1] in (12, 16):
        convention = "opencv_w2c" if values.shape[1] == 12 else "opencv_c2w"
        return PosesFile(four_by_four(values.reshape(len(values), -1, 4)), convention)
    if not are_poses(values):
        raise UsageError(
            f"the poses file is a JSON list of another shape: {path}",
            got=values.shape,
            expected="(F, 12), (F, 3, 4) or (F, 4, 4)",
            next_step="Save one matrix a frame.",
        )
    return PosesFile(four_by_four(values), "opencv_c2w")


def parse_json(text: str, path: Path) -> Any:
    """JSON of a poses file.

    Raises:
        UsageError: It is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"the poses file is not valid JSON: {path}",
            got=error,
            expected="JSON as a tool writes it",
            next_step="Look whether the file was cut.",
        ) from error
