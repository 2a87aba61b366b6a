"""The camera path that a manifest names: read by the preflight, by Stage 1 and by the overlay."""

from __future__ import annotations

from pathlib import Path

from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.poses.reading import load_poses
from sana_wm.camera.trajectory import Trajectory
from sana_wm.manifest.model import CameraSection


def load_trajectory(camera: CameraSection) -> Trajectory:
    """The camera path, by action string or by poses file.

    Raises:
        UsageError: It cannot be read or is no camera path.
    """
    if camera.poses is not None:
        return load_poses(Path(camera.poses))
    assert camera.action is not None  # the model sees to it that exactly one is given
    return action_trajectory(
        camera.action,
        dialect=camera.dialect,
        translation_speed=camera.translation_speed,
        rotation_speed_deg=camera.rotation_speed_deg,
    )


def intrinsics_source(camera: CameraSection) -> Path | tuple[float, ...]:
    """Where the intrinsics come from, as `read_intrinsics` takes it."""
    return Path(camera.intrinsics) if isinstance(camera.intrinsics, str) else camera.intrinsics
