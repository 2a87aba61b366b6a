"""What a user says of the camera, as a manifest's fields: its way, its lens, how many frames are made of it."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sana_wm.camera.exif import read_focal_length
from sana_wm.camera.field_of_view import focal_length_px
from sana_wm.camera.move_path import resolve_move
from sana_wm.camera.plausibility import doubts_about_moves
from sana_wm.camera.poses.reading import read_poses
from sana_wm.camera.trajectory import check_num_frames, valid_num_frames_near
from sana_wm.drafting.camera_view import ActionPath
from sana_wm.drafting.moves import camera_of_move
from sana_wm.drafting.request import VideoRequest
from sana_wm.errors import UsageError
from sana_wm.manifest.loading import escape_variables
from sana_wm.manifest.model import ESTIMATE
from sana_wm.sizes import MOST_FRAMES
from sana_wm.variants import ReleasedModel
from sana_wm.video.picture import inspect_picture, opened

Json = dict[str, Any]


def camera_way(
    said: VideoRequest, before: Mapping[str, Any], folder: Path, notes: list[str], *, num_frames: int, fps: int
) -> tuple[Json, int] | None:
    """The fields of the camera's way, and how many poses it has; `None` where nothing is said of it.

    Args:
        said: What the user says.
        before: The camera's fields so far: dialect and speeds stay where nothing else is said.
        folder: Where the manifest will lie.
        notes: Receives what a user should be told.
        num_frames: Of the video, for moves that say no time.
        fps: Frames a second, for moves.

    Raises:
        UsageError: The way cannot be used.
    """
    if said.move is not None:
        moves = resolve_move(said.move, fps, num_frames=num_frames - 1)
        notes += (moves.told, *doubts_about_moves(moves.moves))
        name = "moves" if said.image is None else said.image.stem
        fields = camera_of_move(moves, said.out or folder / name, written=lambda file: written_path(file, folder))
        if moves.action is None:
            notes.append(f"no one action does these moves: they are poses, in {fields['poses']}")
        kept = {field: value for field, value in fields.items() if value is not None or field in before}
        return kept, len(moves.trajectory)
    if said.poses is not None:
        read = read_poses(said.poses)
        notes += (f"{said.poses}: {note}" for note in read.notes)
        without = {"action": None} if "action" in before else {}
        return {**without, "poses": written_path(said.poses, folder)}, len(read.trajectory)
    if said.action is None:
        return None
    kept = {name: before[name] for name in ("translation_speed", "rotation_speed_deg") if name in before}
    motion = ActionPath(said.action, said.dialect or before.get("dialect", "pr379"), **kept)
    without = dict.fromkeys({"poses", "poses_convention", "poses_fps"} & before.keys())
    return {**without, **asdict(motion)}, len(motion.trajectory())


def frames_of_seconds(seconds: float, fps: int, model: ReleasedModel) -> int:
    """The frames of a video that lasts so long: one more than its steps.

    Raises:
        UsageError: Its model makes no video of that length; the nearest are named.
    """
    steps = round(seconds * fps, 6)
    if steps == int(steps) and int(steps) + 1 in model.num_frames_near(int(steps) + 1) and steps < MOST_FRAMES:
        return int(steps) + 1
    longest = (MOST_FRAMES - 1) // model.frames_step * model.frames_step + 1
    near = sorted({min(length, longest) for length in model.num_frames_near(round(steps) + 1)})
    raise UsageError(
        f"--seconds is no length of the {model.title}: its videos have {model.frames_step}k + 1 frames",
        got=f"{seconds:g} s, {steps + 1:g} frames at {fps} fps",
        expected=" or ".join(f"{(length - 1) / fps:g} s ({length} frames)" for length in near),
        next_step="Say one of them." if len(near) > 1 else None,
    )


def require_way(num_frames: int, available: int, fps: int) -> None:
    """Refuse a video that is longer than the camera's way.

    Raises:
        UsageError: It is.
    """
    if num_frames > available:
        raise UsageError(
            "the camera's way is shorter than --seconds",
            got=f"{available} poses, {(available - 1) / fps:g} s",
            expected=f"{num_frames}",
            next_step="Lengthen it, or ask for less.",
        )


def choose_num_frames(wanted: int | None, available: int, model: ReleasedModel, fps: int, notes: list[str]) -> int:
    """How many frames a camera's way is made into.

    Args:
        wanted: That the model makes; `None`: as many as the way gives.
        available: Poses that the way has.
        model: That makes the video.
        fps: Frames a second.
        notes: Receives what a user should be told.

    Raises:
        UsageError: The way is too short.
    """
    if wanted is None:
        near = valid_num_frames_near(available, available=available, model=model)
        if not near:
            check_num_frames(available, available=available, model=model)  # says what is wrong with the path
        wanted = max(near)
    require_way(wanted, available, fps)
    if wanted != available:
        notes.append(f"the video takes the first {wanted} of the camera path's {available} poses")
    return wanted


def choose_intrinsics(
    image: Path,
    given: tuple[float, ...] | Path | None,
    field_of_view_deg: float | None,
    folder: Path,
    notes: list[str],
    *,
    knows_depth_pro: bool,
) -> Any:
    """What `camera.intrinsics` says for a picture.

    Args:
        image: The picture.
        given: fx, fy, cx, cy, or a file.
        field_of_view_deg: Across the picture, where they are not given.
        folder: Where the manifest will lie.
        notes: Receives what a user should be told.
        knows_depth_pro: Whether Depth Pro may be asked.

    Raises:
        UsageError: Nothing is given and the picture says nothing.
    """
    if isinstance(given, Path):
        return written_path(given, folder)
    if given is not None:
        return list(given)
    if field_of_view_deg is not None:
        width, height = inspect_picture(image).size
        focal_px = focal_length_px(field_of_view_deg, size_px=width)
        return [focal_px, focal_px, width / 2, height / 2]
    inspect_picture(image)  # says what is wrong with it
    with opened(image) as picture:
        focal = read_focal_length(picture)
    if not isinstance(focal, str):
        notes.append(f"the focal length will be the picture's own: {focal.source}")
    elif knows_depth_pro:
        notes.append(f"Depth Pro will estimate the focal length: {focal}")
    else:
        raise UsageError(
            "the picture's field of view is not known",
            got=focal,
            expected="--fov-deg, --intrinsics, or Depth Pro's weights in --depth-pro-root",
            next_step="Give --fov-deg: what the picture shows from left to right. A phone's main lens shows about 70.",
        )
    return ESTIMATE


def written_path(path: Path, folder: Path) -> str:
    """A path as the manifest names it: relative where it lies below the manifest, else absolute."""
    absolute, base = path.absolute(), folder.absolute()
    below = absolute.is_relative_to(base)
    return escape_variables(os.path.relpath(absolute, base) if below else str(absolute))
