"""Named moves as a manifest says them: an action where keys do them exactly, else a poses file of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sana_wm.camera.move_path import DIALECT, MovePath
from sana_wm.drafting.camera_view import write_poses
from sana_wm.manifest.loading import escape_variables


def _absolute(file: Path) -> str:
    return escape_variables(str(file.absolute()))


def camera_of_move(path: MovePath, beside: Path, *, written: Callable[[Path], str] = _absolute) -> dict[str, Any]:
    """What a manifest's `camera` section says of moves; `null` for what they replace.

    Where they take poses, these are written to `NAME-camera.npy`. A file of that name which holds something else is
    left alone: the next free number is taken.

    Args:
        path: The moves' path.
        beside: The manifest, or the run directory, that the poses file lies beside and is named after.
        written: How the manifest names a file; in full if left out.
    """
    if path.action is not None:
        return {
            "action": path.action,
            "dialect": DIALECT,
            "translation_speed": path.translation_speed,
            "rotation_speed_deg": path.rotation_speed_deg,
            "poses": None,
            "poses_convention": None,
            "poses_fps": None,
        }
    stem = beside.name.removesuffix(".json")
    file, number = beside.with_name(f"{stem}-camera.npy").absolute(), 1
    while file.exists() and not _holds(file, path):
        number += 1
        file = file.with_name(f"{stem}-camera-{number}.npy")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_poses(path.trajectory, file)
    return {
        "action": None,
        "poses": written(file),
        "poses_convention": "opencv_c2w",
        "poses_fps": None,
    }


def _holds(file: Path, path: MovePath) -> bool:
    try:
        return np.array_equal(np.load(file, allow_pickle=False), path.trajectory.c2w)
    except (OSError, ValueError):
        return False
