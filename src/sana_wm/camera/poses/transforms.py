"""`transforms.json` of Blender's NeRF exporters, instant-ngp and nerfstudio."""

from __future__ import annotations

from pathlib import Path
from reprlib import repr as short_repr
from typing import Any, cast

import numpy as np

from sana_wm.camera.poses.contents import PixelIntrinsics, PosesFile, StatedIntrinsics, ViewAngle, four_by_four
from sana_wm.camera.poses.order import order_by_name
from sana_wm.errors import UsageError

Json = dict[str, Any]

FOCAL_FIELDS = ("fl_x", "fl_y", "cx", "cy")
#: Beyond any picture's size, and what float64 can hold of JSON's whole numbers.
MAX_NUMBER = 1e9
DISTORTION_FIELDS = ("k1", "k2", "k3", "k4", "p1", "p2")


def read_transforms(data: Json, path: Path) -> PosesFile:
    """Camera-to-world matrices with OpenGL axes (y up, z backwards), one a frame, in the order of the frames' names.

    Source: docs.nerf.studio/quickstart/data_conventions.html; the intrinsics stand at the top or in each frame.
    """
    frames = data.get("frames")
    if (
        not isinstance(frames, list)
        or not frames
        or not all(isinstance(frame, dict) for frame in cast("list[Any]", frames))
    ):
        raise UsageError(
            f"the poses file is JSON, but no transforms.json: {path}",
            got=f"keys {', '.join(list(data)[:8])}",
            expected="frames, a list of objects with transform_matrix",
            next_step="Take the transforms.json that nerfstudio, instant-ngp or Blender wrote.",
        )
    frames = cast("list[Json]", frames)
    notes: list[str] = []
    names = [frame.get("file_path") for frame in frames]
    if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
        order = order_by_name(cast("list[str]", names))
        if order != list(range(len(frames))):
            notes.append("frames are taken in the order of their file_path, not of the list")
        frames = [frames[index] for index in order]
    matrices = np.array([_matrix(frame, index, path) for index, frame in enumerate(frames)])
    intrinsics = _intrinsics(data, frames, path, notes)
    return PosesFile(matrices, "opengl_c2w", None, intrinsics, tuple(notes))


def _matrix(frame: Json, index: int, path: Path) -> np.ndarray:
    try:
        matrix = np.array(frame.get("transform_matrix"), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.empty(0)
    if matrix.shape not in ((4, 4), (3, 4)):
        raise UsageError(
            f"frame {index} of the poses file has no usable transform_matrix: {path}",
            got=short_repr(frame.get("transform_matrix")),
            expected="a 4x4 matrix of numbers",
            next_step="Look at that frame; remove it if it has no pose.",
        )
    return four_by_four(matrix[None])[0]


def _intrinsics(data: Json, frames: list[Json], path: Path, notes: list[str]) -> StatedIntrinsics | None:
    """Those of the frames where each has its own, else those at the top; `None` where a pinhole would be wrong."""
    model = str(data.get("camera_model", "PINHOLE")).upper()
    if "FISHEYE" in model or "EQUIRECTANGULAR" in model:
        notes.append(f"its intrinsics are of camera_model {model}, and not used: the model knows pinhole cameras only")
        return None
    per_frame = all("fl_x" in frame for frame in frames)
    holders = [data | frame for frame in frames] if per_frame else [data]
    if any(_number(holder, name, path) for holder in holders for name in DISTORTION_FIELDS):
        notes.append("its lens distortion is left out: the model knows pinhole cameras only")
    if "fl_x" not in holders[0]:
        angle = _number(data, "camera_angle_x", path)
        return ViewAngle(angle) if angle is not None and 0 < angle < np.pi else None
    rows, sizes = zip(*(_row(holder, path) for holder in holders), strict=True)
    if len(set(sizes)) > 1:
        notes.append("its frames have several sizes, so its intrinsics are not used")
        return None
    return PixelIntrinsics(np.array(rows), sizes[0])


def _row(holder: Json, path: Path) -> tuple[list[float], tuple[float, float] | None]:
    """fx, fy, cx, cy, and the size of the picture that they are of."""
    width, height = _number(holder, "w", path), _number(holder, "h", path)
    fx, fy, cx, cy = (_number(holder, name, path) for name in FOCAL_FIELDS)
    cx = width / 2 if cx is None and width else cx
    cy = height / 2 if cy is None and height else cy
    if fx is None or cx is None or cy is None:
        raise UsageError(
            f"the intrinsics in the poses file are incomplete: {path}",
            got=", ".join(name for name in (*FOCAL_FIELDS, "w", "h") if name in holder),
            expected="fl_x and cx, cy or w, h",
            next_step="Complete them, or give camera.intrinsics in pixels of the input image.",
        )
    return [fx, fx if fy is None else fy, cx, cy], (width, height) if width and height else None


def _number(holder: Json, name: str, path: Path) -> float | None:
    value = holder.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_NUMBER:
        raise UsageError(f"{name} in the poses file is no number: {path}", got=short_repr(value), expected="a number")
    return float(value)
