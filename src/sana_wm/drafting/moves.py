"""Named moves as a manifest says them: an action where keys do them exactly, else a poses file beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sana_wm.camera.move_path import DIALECT, MovePath
from sana_wm.manifest.loading import escape_variables


def poses_file_beside(manifest_path: Path) -> Path:
    """Where the poses of a manifest's moves lie."""
    return manifest_path.with_name(f"{manifest_path.stem}-camera.npy")


def camera_of_move(path: MovePath, poses_file: Path) -> dict[str, Any]:
    """What a manifest's `camera` section says of moves; `null` for what they replace.

    Args:
        path: The moves' path.
        poses_file: Named where the moves take poses; its writer is `write_poses(path.trajectory, poses_file)`.
    """
    if path.action is None:
        return {
            "action": None,
            "poses": escape_variables(str(poses_file.absolute())),
            "poses_convention": "opencv_c2w",
            "poses_fps": None,
        }
    return {
        "action": path.action,
        "dialect": DIALECT,
        "translation_speed": path.translation_speed,
        "rotation_speed_deg": path.rotation_speed_deg,
        "poses": None,
        "poses_convention": None,
        "poses_fps": None,
    }
