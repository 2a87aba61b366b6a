"""A camera as the `camera` commands look at it: from a manifest, or from an action string alone. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.actions import parse_action
from sana_wm.camera.crop import CENTRE, Crop
from sana_wm.camera.crop_words import doubts_about_axis
from sana_wm.camera.dialects import DIALECTS, action_trajectory
from sana_wm.camera.exif import read_focal_length
from sana_wm.camera.field_of_view import field_of_view_deg, focal_length_px
from sana_wm.camera.intrinsics import CropGeometry, crop_geometry, crop_intrinsics
from sana_wm.camera.move_path import DIALECT, MovePath
from sana_wm.camera.of_manifest import load_camera_path, load_intrinsics
from sana_wm.camera.plausibility import (
    doubts_about_action,
    doubts_about_moves,
    doubts_about_path,
    doubts_about_view,
    require_pixels,
)
from sana_wm.camera.trajectory import Trajectory
from sana_wm.durable import durable_file, write_durably
from sana_wm.errors import UsageError
from sana_wm.manifest.model import ESTIMATE, CameraSection, Manifest, VideoSection
from sana_wm.names import DialectName
from sana_wm.preflight.camera_doubts import doubts_about_camera
from sana_wm.preflight.intrinsics import estimate_intrinsics, settle_intrinsics
from sana_wm.sizes import TRAINED_SIZE
from sana_wm.video.picture import inspect_picture, opened

#: The speeds of a manifest that names none.
TRANSLATION_SPEED, ROTATION_SPEED_DEG = (
    CameraSection.model_fields[name].default for name in ("translation_speed", "rotation_speed_deg")
)


@dataclass(frozen=True)
class ActionPath:
    """A camera path that an action string describes.

    Attributes:
        action: The action string.
        dialect: Its dialect.
        translation_speed: Scene units per frame.
        rotation_speed_deg: Degrees per frame.
    """

    action: str
    dialect: DialectName
    translation_speed: float = TRANSLATION_SPEED
    rotation_speed_deg: float = ROTATION_SPEED_DEG

    @classmethod
    def of(cls, camera: CameraSection) -> ActionPath | None:
        """That of a manifest, unless it names poses."""
        if camera.action is None:
            return None
        return cls(camera.action, camera.dialect, camera.translation_speed, camera.rotation_speed_deg)

    @classmethod
    def of_moves(cls, moves: MovePath) -> ActionPath | None:
        """That of named moves, unless they take poses."""
        if moves.action is None:
            return None
        return cls(moves.action, DIALECT, moves.translation_speed, moves.rotation_speed_deg)

    def trajectory(self) -> Trajectory:
        """Its camera path."""
        return action_trajectory(
            self.action,
            dialect=self.dialect,
            translation_speed=self.translation_speed,
            rotation_speed_deg=self.rotation_speed_deg,
        )


@dataclass(frozen=True, eq=False)
class Lens:
    """What is known of the camera that took the picture.

    Attributes:
        picture: The first frame.
        intrinsics: (F, 4) or (1, 4) fx, fy, cx, cy in pixels of the picture.
        source: Where they come from, in words.
        crop: Which part of the picture is shown.
    """

    picture: Path
    intrinsics: NDArray[np.float32]
    source: str
    crop: Crop = CENTRE

    def geometry(self, *, height: int, width: int) -> CropGeometry:
        """How the picture becomes the first frame of a video of this size."""
        return crop_geometry(inspect_picture(self.picture).size, height=height, width=width, crop=self.crop)

    def cropped(self, *, height: int, width: int) -> NDArray[np.float32]:
        """Intrinsics of the part that a video of this size shows, in its pixels."""
        return crop_intrinsics(self.intrinsics, self.geometry(height=height, width=width))

    def field_of_view_deg(self, video: VideoSection) -> tuple[float, float]:
        """Horizontal and vertical, of the first frame."""
        first = self.cropped(height=video.height, width=video.width)[0]
        return field_of_view_deg(first.tolist(), width=video.width, height=video.height)


@dataclass(frozen=True, eq=False)
class CameraView:
    """A camera path, with what is known of its surroundings.

    Attributes:
        trajectory: The whole path.
        motion: Where an action string made it.
        moves: Where named moves made it.
        video: Size and frame rate.
        wanted_num_frames: How much of the path the video takes, where a manifest says so.
        lens: Where there is a picture.
        origin: Where the path comes from, for one without an action, in words.
        doubts: What deserves a word.
    """

    trajectory: Trajectory
    motion: ActionPath | None
    video: VideoSection
    wanted_num_frames: int | None
    lens: Lens | None
    origin: str = ""
    doubts: tuple[str, ...] = ()
    moves: MovePath | None = None

    @property
    def shown(self) -> Trajectory:
        """The part of the path that the video takes, as far as the path goes."""
        path, count = self.trajectory, self.wanted_num_frames or len(self.trajectory)
        return Trajectory(path.c2w[:count], path.held_keys and path.held_keys[: count - 1])


def view_of_manifest(manifest: Manifest) -> CameraView:
    """The camera of a manifest, intrinsics estimated if it asks for that.

    Raises:
        UsageError: The path, the picture or the intrinsics are not usable.
    """
    picture_size = inspect_picture(Path(manifest.input.image)).size
    source = Path(manifest.camera.intrinsics).name if isinstance(manifest.camera.intrinsics, str) else "as given"
    if manifest.camera.intrinsics == ESTIMATE:
        estimate = estimate_intrinsics(manifest)
        manifest = settle_intrinsics(manifest, estimate)
        source = f"{estimate.source}, give or take {estimate.uncertainty_share:.0%}: {estimate.basis}"
    elif manifest.camera.intrinsics is None:
        source = "from the poses file"
    path, num_frames = load_camera_path(manifest), manifest.video.num_frames
    intrinsics = load_intrinsics(manifest, path, min(num_frames, len(path.trajectory)), picture_size)
    require_pixels(intrinsics, picture_size)
    lens = Lens(Path(manifest.input.image), intrinsics, source, manifest.input.crop)
    return CameraView(
        path.trajectory,
        ActionPath.of(manifest.camera),
        manifest.video,
        num_frames,
        lens,
        origin=f"a file of {path.file.format}, {path.file.convention}" if path.file else "",
        doubts=tuple(words for _, words in doubts_about_camera(manifest, picture_size)),
    )


def view_of_motion(
    motion: ActionPath | MovePath,
    picture: Path | None,
    horizontal_deg: float | None,
    *,
    size: tuple[int, int] = TRAINED_SIZE,
    crop: Crop = CENTRE,
) -> CameraView:
    """The camera of an action string or of named moves, before there is a manifest.

    Args:
        motion: The action, or the moves.
        picture: A first frame, if there is one.
        horizontal_deg: Field of view across the picture; left out, its EXIF data must say.
        size: Width, height of the video.
        crop: Which part of the picture it shows.

    Raises:
        UsageError: The action, the picture or its EXIF data are not usable.
    """
    lens = _lens_of_picture(picture, horizontal_deg, crop) if picture is not None else None
    video = VideoSection(width=size[0], height=size[1])
    if isinstance(motion, MovePath):
        moves, action, trajectory = motion, ActionPath.of_moves(motion), motion.trajectory
        doubts = doubts_about_moves(moves.moves)
    else:
        moves, action, trajectory = None, motion, motion.trajectory()
        doubts = [
            *doubts_about_path(trajectory.c2w),
            *doubts_about_action(parse_action(motion.action), DIALECTS[motion.dialect]),
        ]
    if lens is not None:
        cropped = lens.cropped(height=video.height, width=video.width)
        doubts += doubts_about_view(cropped, height=video.height, width=video.width)
        doubts += doubts_about_axis(cropped, height=video.height, width=video.width)
    origin = "of moves that no one action does"
    return CameraView(trajectory, action, video, None, lens, origin=origin, doubts=tuple(doubts), moves=moves)


def _lens_of_picture(path: Path, horizontal_deg: float | None, crop: Crop) -> Lens:
    width, height = inspect_picture(path).size
    if horizontal_deg is not None:
        fx = fy = focal_length_px(horizontal_deg, size_px=width)
        source = "as given"
    else:
        with opened(path) as image:
            focal = read_focal_length(image)
        if isinstance(focal, str):
            raise UsageError("the picture's field of view is not known", got=focal, next_step="Give --fov-deg.")
        fx, fy, source = focal.fx, focal.fy, focal.source
    return Lens(path, np.array([[fx, fy, width / 2, height / 2]], dtype=np.float32), source, crop)


def write_poses(trajectory: Trajectory, out: Path) -> None:
    """Write poses as `camera.poses` takes them.

    Raises:
        UsageError: The name has another suffix.
    """
    if out.suffix != ".npy":
        raise UsageError("poses are written as .npy", got=out.name, expected="a name ending in .npy")
    with durable_file(out) as part:
        np.save(part, trajectory.c2w)


def write_plot(png: bytes, out: Path) -> None:
    """Write a plot of a camera path, whole or not at all."""
    write_durably(out, png)
