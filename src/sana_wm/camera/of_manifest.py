"""The camera that a manifest names: its path and its intrinsics, for the preflight, Stage 1, overlay and previews."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.intrinsics import CropGeometry, crop_geometry, read_intrinsics, rows_per_frame
from sana_wm.camera.poses.reading import ReadPoses, read_poses
from sana_wm.camera.trajectory import Trajectory
from sana_wm.errors import UsageError
from sana_wm.manifest.model import CameraSection, Manifest


@dataclass(frozen=True, eq=False)
class CameraPath:
    """The camera path of a manifest.

    Attributes:
        trajectory: The path at the video's frame rate.
        file: What its poses file gave, unless an action made it.
    """

    trajectory: Trajectory
    file: ReadPoses | None = None

    @property
    def field(self) -> str:
        """The manifest field that names it."""
        return "camera.action" if self.file is None else "camera.poses"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should be told of the reading."""
        return self.file.notes if self.file is not None else ()


def load_camera_path(manifest: Manifest) -> CameraPath:
    """The camera path, by action string or by poses file.

    Raises:
        UsageError: It cannot be read or is no camera path.
    """
    camera = manifest.camera
    if camera.poses is not None:
        file = read_poses(
            Path(camera.poses),
            convention=camera.poses_convention,
            poses_fps=camera.poses_fps,
            video_fps=manifest.video.fps,
        )
        return CameraPath(file.trajectory, file)
    assert camera.action is not None  # the model sees to it that exactly one is given
    return CameraPath(
        action_trajectory(
            camera.action,
            dialect=camera.dialect,
            translation_speed=camera.translation_speed,
            rotation_speed_deg=camera.rotation_speed_deg,
        )
    )


def load_trajectory(manifest: Manifest) -> Trajectory:
    """The camera path alone; raises as `load_camera_path` does."""
    return load_camera_path(manifest).trajectory


def load_intrinsics(
    manifest: Manifest, path: CameraPath, num_frames: int, picture_size: tuple[int, int]
) -> NDArray[np.float32]:
    """Intrinsics of every frame: the manifest's, or those in its poses file where it gives none.

    Args:
        manifest: With intrinsics that are settled, not to be estimated.
        path: Its camera path.
        num_frames: Frames of the video.
        picture_size: Width, height of the input image, in pixels.

    Returns:
        (num_frames, 4) `[fx, fy, cx, cy]` in pixels of the input image.

    Raises:
        UsageError: They cannot be read, or there are none.
    """
    source = intrinsics_source(manifest.camera)
    if source is not None:
        return read_intrinsics(source, num_frames)
    if path.file is None or path.file.intrinsics is None:
        raise UsageError(
            "camera.intrinsics is missing, and the poses file holds none",
            got="null",
            expected='[fx, fy, cx, cy] in pixels of the input image, a file, or "estimate"',
            next_step="Give camera.intrinsics.",
        )
    return rows_per_frame(path.file.intrinsics.for_picture(*picture_size), num_frames, f" of {manifest.camera.poses}")


def picture_geometry(manifest: Manifest, picture_size: tuple[int, int]) -> CropGeometry:
    """How the input image, and its intrinsics with it, become the video's first frame.

    Args:
        manifest: Says the video's size, and which part of the picture it shows.
        picture_size: Width, height of the input image, in pixels.
    """
    video = manifest.video
    return crop_geometry(picture_size, height=video.height, width=video.width, crop=manifest.input.crop)


def intrinsics_source(camera: CameraSection) -> Path | tuple[float, ...] | None:
    """Where the intrinsics come from, as `read_intrinsics` takes it; `None` for the poses file."""
    return Path(camera.intrinsics) if isinstance(camera.intrinsics, str) else camera.intrinsics
