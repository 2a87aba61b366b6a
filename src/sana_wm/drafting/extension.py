"""The manifest of a run that goes on where a finished one ended. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.actions import Segment, parse_action
from sana_wm.camera.move_path import resolve_move
from sana_wm.camera.of_manifest import load_trajectory
from sana_wm.camera.poses.reading import read_poses
from sana_wm.camera.trajectory import Trajectory
from sana_wm.drafting.camera_view import ActionPath, write_poses
from sana_wm.drafting.lineage import Parent, made_from, require_whole
from sana_wm.drafting.new_run import NewRun, new_place
from sana_wm.drafting.variation import child_names
from sana_wm.errors import UsageError
from sana_wm.manifest.loading import escape_variables
from sana_wm.manifest.model import VideoSection
from sana_wm.manifest.portable import rerun_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.sizes import MOST_FRAMES
from sana_wm.variants import MODELS, ReleasedModel

#: How much is added where nothing says how much: 4.5 s at 16 frames a second.
DEFAULT_STEPS = 3


@dataclass(frozen=True)
class Extension:
    """What a user says of it.

    Attributes:
        action: Keys from the last frame on.
        move: Named moves from the last frame on.
        poses: File of the camera's way from the last frame on; its first pose is that frame's.
        prompt: From the first new chunk on.
        seconds: Of video to add; what the camera's way gives when left out.
        out: The new run directory; the next free name beside the old one when left out.
    """

    action: str | None = None
    move: str | None = None
    poses: Path | None = None
    prompt: str | None = None
    seconds: float | None = None
    out: Path | None = None


def write_extension(run: RunDirectory, asked: Extension) -> NewRun:
    """Write the manifest of the run that goes on, and its camera path where that is no action.

    Args:
        run: A finished run; it is only read.
        asked: What the user says.

    Raises:
        UsageError: The run cannot be gone on from, or the length is none that its model makes.
        HandoffError: It is not whole any more, or an input of it is not what it was.
    """
    manifest = run.read_manifest()
    model = MODELS[manifest.model.variant]
    _require_whole(run, manifest, model, new_prompt=asked.prompt not in (None, manifest.input.prompt))
    parent = Parent.of(run)
    parent.require_inputs()
    data = rerun_manifest(manifest)
    num_frames = manifest.video.num_frames
    with new_place(child_names(parent, asked.out)) as place:
        added, camera = _go_on(manifest, asked, model, place.path)
        data["camera"] |= camera
        data["video"] |= {"num_frames": num_frames + added, "frames_dir": None}
        data["input"]["continues"] = escape_variables(str(run.stage1_file.absolute()))
        if asked.prompt is not None:
            data["input"] |= {"prompt": escape_variables(asked.prompt), "prompt_file": None}
        data["output_dir"] = escape_variables(str(place.path))
        origin = made_from(parent, "extend", data, frame=num_frames - manifest.dropped_frames - 1)
        return place.written({**data, "made_from": origin}, notes=())


def _require_whole(run: RunDirectory, manifest: RunManifest, model: ReleasedModel, *, new_prompt: bool) -> None:
    if not model.can_grow:
        raise UsageError(
            f"the {model.title} makes a clip as a whole: it cannot be gone on from",
            got=run.path,
            expected="a run of the streaming model",
            next_step="Make a longer video with run-pipeline.",
        )
    # What was refined can be made again, but not under another prompt; what the decoder left is not read. What the last
    # chunk left may be gone: a gigabyte, and it can be made again.
    state = run.name_of(run.stage1_state_file)
    require_whole(run, manifest, ["stage1", "refiner"] if new_prompt else ["stage1"], apart_from=[state])


def _go_on(manifest: RunManifest, asked: Extension, model: ReleasedModel, out: Path) -> tuple[int, dict[str, Any]]:
    """How many frames are added, and the fields of the camera for the whole path."""
    ways = {"--action": asked.action, "--move": asked.move, "--poses": asked.poses}
    if len(given := [option for option, way in ways.items() if way is not None]) > 1:
        raise UsageError(f"{given[0]} and {given[1]} exclude each other", expected="one of them")
    wanted = None if asked.seconds is None else round(asked.seconds * manifest.video.fps, 6)
    if asked.poses is not None:
        way = read_poses(asked.poses).trajectory
        added = _length(wanted, len(way) - 1, model, manifest.video)
        return added, _joined_poses(manifest, way, added, out)
    if asked.move is not None:
        return _go_on_with_moves(manifest, asked.move, wanted, model, out)
    if asked.action is not None:
        segments = parse_action(asked.action)
        added = _length(wanted, sum(segment.num_frames for segment in segments), model, manifest.video)
        return added, _joined_action(manifest, cut_action(segments, added), added, out)
    added = _length(wanted or DEFAULT_STEPS * model.frames_step, None, model, manifest.video)
    return added, _same_way(manifest, added, out)


def _go_on_with_moves(
    manifest: RunManifest, text: str, wanted: float | None, model: ReleasedModel, out: Path
) -> tuple[int, dict[str, Any]]:
    """Moves behind the way that was shown: as keys where its action goes on at the same speeds, else as poses."""
    shown = load_trajectory(manifest).c2w[: manifest.video.num_frames].astype(np.float64)
    total = DEFAULT_STEPS * model.frames_step
    if wanted is not None:
        total = _length(wanted, None, model, manifest.video)
    moves = resolve_move(text, manifest.video.fps, num_frames=total, start=shown[-1])
    added = _length(wanted, moves.num_frames, model, manifest.video)
    before, motion = ActionPath.of(manifest.camera), ActionPath.of_moves(moves)
    if before is not None and motion is not None and motion == replace(before, action=motion.action):
        return added, _joined_action(manifest, cut_action(parse_action(motion.action), added), added, out)
    return added, _write_joined(shown, moves.trajectory.c2w[1 : added + 1].astype(np.float64), out)


def _length(wanted: float | None, available: int | None, model: ReleasedModel, video: VideoSection) -> int:
    """Frames to add: whole chunks, as many as were asked for, or as the camera's way has.

    Raises:
        UsageError: Those are no whole chunks, more than the camera's way has, or more than the model can count.
    """
    frames = available if wanted is None else wanted
    assert frames is not None
    step, fps = model.frames_step, video.fps
    if video.num_frames + frames > MOST_FRAMES:
        most = (MOST_FRAMES - video.num_frames) // step * step
        raise UsageError(
            f"the video would be longer than {MOST_FRAMES} frames, the most that the {model.title} can count",
            got=f"{video.num_frames} + {frames:g} frames",
            expected=f"at most {most} more, {most / fps:g} s",
            next_step="Add less, or begin a new video with its last frame." if most else "Begin with its last frame.",
        )
    if frames <= 0 or frames % step:
        near = sorted({max(1, int(frames // step)) * step, (int(frames // step) + 1) * step})
        raise UsageError(
            f"the video can grow by whole chunks of {step} frames, {step / fps:g} s",
            got=f"{frames:g} frames",
            expected=" or ".join(f"{count} ({count / fps:g} s)" for count in near),
            next_step="Change --seconds, or the camera's way.",
        )
    if available is not None and frames > available:
        raise UsageError(
            "the camera's way is shorter than --seconds",
            got=f"{available} frames, {available / fps:g} s",
            expected=f"{frames:g} frames",
            next_step="Lengthen it, or ask for less.",
        )
    return int(frames)


def cut_action(segments: tuple[Segment, ...], num_frames: int) -> str:
    """The first frames of an action, as text."""
    kept: list[Segment] = []
    for segment in segments:
        count = min(segment.num_frames, num_frames - sum(one.num_frames for one in kept))
        if count > 0:
            kept.append(Segment(segment.keys, count))
    return ",".join(map(str, kept))


def _joined_action(manifest: RunManifest, action: str, added: int, out: Path) -> dict[str, Any]:
    """The camera's fields with an action behind the way that was shown."""
    camera = manifest.camera
    if camera.action is None:
        turned = manifest.model_copy(update={"camera": camera.model_copy(update={"action": action, "poses": None})})
        return _joined_poses(manifest, load_trajectory(turned), added, out)
    return {"action": f"{cut_action(parse_action(camera.action), manifest.video.num_frames - 1)},{action}"}


def _same_way(manifest: RunManifest, added: int, out: Path) -> dict[str, Any]:
    """The camera's own way where it goes on; behind its end the last keys stay down."""
    camera, shown = manifest.camera, manifest.video.num_frames - 1
    if camera.action is None:
        available = len(load_trajectory(manifest)) - 1 - shown
        if available >= added:
            return {}
        raise UsageError(
            "the poses file ends too soon",
            got=f"{available} poses more than the run has shown",
            expected=f"{added}",
            next_step="Say where the camera goes: --move, --action or --poses.",
        )
    segments = parse_action(camera.action)
    missing = shown + added - sum(segment.num_frames for segment in segments)
    more = (Segment(segments[-1].keys, missing),) if missing > 0 else ()
    return {"action": cut_action((*segments, *more), shown + added)}


def _joined_poses(manifest: RunManifest, way: Trajectory, added: int, out: Path) -> dict[str, Any]:
    """The camera's fields with poses behind the way that was shown, in a file beside the new run."""
    shown = load_trajectory(manifest).c2w[: manifest.video.num_frames].astype(np.float64)
    return _write_joined(shown, shown[-1] @ way.c2w[1 : added + 1].astype(np.float64), out)


def _write_joined(shown: NDArray[np.float64], following: NDArray[np.float64], out: Path) -> dict[str, Any]:
    path = out.with_name(f"{out.name}-camera.npy")
    write_poses(Trajectory(np.concatenate([shown, following]).astype(np.float32)), path)
    return {"action": None, "poses": escape_variables(str(path)), "poses_convention": "opencv_c2w", "poses_fps": None}
