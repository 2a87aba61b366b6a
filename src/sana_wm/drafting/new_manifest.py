"""New manifests: from a picture and a prompt, or from a run or a video that is there. Loads no torch."""

from __future__ import annotations

import json
import os.path
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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
from sana_wm.durable import write_durably
from sana_wm.errors import HandoffError, ManifestError, UsageError
from sana_wm.manifest.loading import escape_variables
from sana_wm.manifest.model import ESTIMATE, RefinerSection, Stage1Section, VideoSection
from sana_wm.manifest.portable import parse_portable
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.manifest.schema import SCHEMA_KEY, schema_uri
from sana_wm.names import DialectName, Variant
from sana_wm.preflight.inputs import describe_crop
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.variants import BIDIRECTIONAL, STREAMING, ReleasedModel
from sana_wm.video.picture import inspect_picture, opened
from sana_wm.video.reader import probe
from sana_wm.weights.places import guess_layout

Json = dict[str, Any]

#: The variable that says where weights lie if nothing else does.
ROOT_VARIABLES = {
    "gemma_root": "SANA_GEMMA_2_2B_IT_ROOT",
    "depth_pro_root": "SANA_DEPTH_PRO_ROOT",
}
#: The same for the model's own, `model.root`.
MODEL_ROOT_VARIABLES: Mapping[Variant, str] = {
    "bidirectional": "SANA_WM_MODEL_ROOT",
    "streaming": "SANA_WM_STREAMING_ROOT",
}


@dataclass(frozen=True)
class Preset:
    """How much effort goes into a video.

    Attributes:
        num_frames: How many frames it has at most.
        stage1: What its `stage1` section says; what the model was taught besides needs no word.
        model: That makes it.
    """

    num_frames: int
    stage1: Mapping[str, Any]
    model: ReleasedModel = BIDIRECTIONAL


GUIDANCE_SCALE = Stage1Section().guidance_scale
PRESETS: Mapping[str, Preset] = {
    "draft": Preset(25, {"num_inference_steps": 4, "checkpoint_every": 1, "guidance_scale": GUIDANCE_SCALE}),
    "standard": Preset(161, {"num_inference_steps": 30, "preview_every": 10, "guidance_scale": GUIDANCE_SCALE}),
    "author-defaults": Preset(321, {"num_inference_steps": 60, "guidance_scale": GUIDANCE_SCALE}),
    "streaming-draft": Preset(49, {"preview_every": 1}, STREAMING),
    "streaming": Preset(313, {"preview_every": 1}, STREAMING),
}


@dataclass(frozen=True)
class Draft:
    """What a user says of a new manifest; everything else is known or has a default.

    Attributes:
        image: First frame.
        prompt: Text, or its file.
        preset: A name in `PRESETS`.
        action: Action string, or `None` for `move` or `poses`, or for straight ahead.
        move: Named moves.
        dialect: Of the action.
        poses: Poses file.
        intrinsics: fx, fy, cx, cy, or a file; `None`: to be estimated, or by `field_of_view_deg`.
        field_of_view_deg: Across the picture.
        roots: Weight folders by manifest field; those not given are taken from the environment.
        output_dir: Run directory; `runs/NAME` if left out.
    """

    image: Path
    prompt: str | Path
    preset: str
    action: str | None = None
    move: str | None = None
    dialect: DialectName = "pr379"
    poses: Path | None = None
    intrinsics: tuple[float, ...] | Path | None = None
    field_of_view_deg: float | None = None
    roots: Mapping[str, Path] = field(default_factory=dict[str, Path])
    output_dir: Path | None = None


def draft_manifest(draft: Draft, folder: Path, environ: Mapping[str, str]) -> tuple[Json, list[str]]:
    """Draft a manifest for a picture and a prompt.

    Args:
        draft: What the user says of it.
        folder: Where the manifest will lie: files below it are named relative to it.
        environ: Tells which variables name weight folders.

    Returns:
        The manifest as its file holds it, and what a user should be told of it.

    Raises:
        UsageError: The picture or the camera path is not usable, or the field of view is not known.
    """
    preset = PRESETS[draft.preset]
    picture = inspect_picture(draft.image)
    notes = [f"{draft.image}: {note}" for note in picture.notes]
    name = escape_variables(f"{draft.image.stem}_{draft.preset.replace('-', '_')}")
    moves = None if draft.move is None else resolve_move(draft.move, num_frames=preset.num_frames - 1)
    if moves is None:
        camera, available = _camera_path(draft, preset, folder, notes)
    else:
        notes += (moves.told, *doubts_about_moves(moves.moves))
        camera, available = Json(), len(moves.trajectory)
    knows_depth_pro = "depth_pro_root" in draft.roots or ROOT_VARIABLES["depth_pro_root"] in environ
    if cut := describe_crop(picture.size, VideoSection()):
        notes.append(f"{draft.image}: {cut}")
    given = draft.intrinsics is not None or draft.field_of_view_deg is not None
    if not given and draft.poses is not None and read_poses(draft.poses).intrinsics is not None:
        camera["intrinsics"] = None
        notes.append("the intrinsics will be those in the poses file")
    else:
        camera["intrinsics"] = choose_intrinsics(
            draft.image, draft.intrinsics, draft.field_of_view_deg, folder, notes, knows_depth_pro=knows_depth_pro
        )
    asks_depth_pro = knows_depth_pro and camera["intrinsics"] == ESTIMATE
    data: Json = {
        SCHEMA_KEY: schema_uri(),
        "version": 1,
        "name": name,
        "model": _model(draft.roots, environ, notes, preset.model.variant, asks_depth_pro=asks_depth_pro),
        "input": {"image": _written(draft.image, folder), **_prompt(draft.prompt, folder)},
        "camera": camera,
        "video": {
            "num_frames": _num_frames(preset, available, notes),
            **VideoSection().model_dump(include={"height", "width", "fps"}),
        },
        "stage1": {**preset.stage1, "seed": Stage1Section().seed},
        "refiner": RefinerSection().model_dump(include={"enabled", "seed"}),
        "output_dir": _written(draft.output_dir, folder) if draft.output_dir else f"runs/{name}",
    }
    if moves is not None:  # last: it may write a file
        said = camera_of_move(moves, folder / name, written=lambda file: _written(file, folder))
        data["camera"] = {field: value for field, value in said.items() if value is not None} | camera
        if moves.action is None:
            notes.append(f"no one action does these moves: they are poses, in {said['poses']}")
    return data, notes


def write_manifest(data: Json, out: Path) -> None:
    """Write a manifest's file, whole or not at all."""
    write_durably(out, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def manifest_of_run(source: Path) -> RunManifest:
    """The manifest that made a run directory or a video.

    Raises:
        UsageError: The video carries none.
        HandoffError: Neither a run directory nor a video.
    """
    if source.is_dir():
        return RunDirectory(source).read_manifest()
    text = probe(source).metadata.get("manifest")
    try:
        if text is not None:
            return parse_portable(text)
    except (ValueError, ManifestError) as error:
        raise HandoffError(f"the manifest in {source} is damaged", got=str(error)) from error
    raise UsageError(
        f"{source} carries no manifest",
        got="no such comment in its metadata",
        expected="a video that this version made and no other program has written since",
        next_step="Name the run directory instead.",
    )


def _camera_path(draft: Draft, preset: Preset, folder: Path, notes: list[str]) -> tuple[Json, int]:
    """The camera path's fields, and how many poses it has."""
    if draft.poses is not None:
        read = read_poses(draft.poses)
        notes += (f"{draft.poses}: {note}" for note in read.notes)
        return {"poses": _written(draft.poses, folder)}, len(read.trajectory)
    action = draft.action
    if action is None:
        action = f"w-{preset.num_frames - 1}"
        notes.append(f"the camera goes straight ahead, {action}: change camera.action, or give --move or --action")
    motion = ActionPath(action, draft.dialect)
    return asdict(motion), len(motion.trajectory())


def _num_frames(preset: Preset, available: int, notes: list[str]) -> int:
    near = valid_num_frames_near(min(preset.num_frames, available), available=available, model=preset.model)
    fitting = [length for length in near if length <= preset.num_frames]
    if not fitting:
        check_num_frames(preset.num_frames, available=available, model=preset.model)  # says what is wrong with the path
    num_frames = max(fitting)
    if num_frames != available:
        notes.append(f"the video takes the first {num_frames} of the camera path's {available} poses")
    return num_frames


def _prompt(prompt: str | Path, folder: Path) -> Json:
    if isinstance(prompt, Path):
        return {"prompt_file": _written(prompt, folder)}
    return {"prompt": escape_variables(prompt)}


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
        return _written(given, folder)
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


def _model(
    roots: Mapping[str, Path], environ: Mapping[str, str], notes: list[str], variant: Variant, *, asks_depth_pro: bool
) -> Json:
    """Weight folders as given, else by variable; the layout is what the folder shows."""
    variables = {"root": MODEL_ROOT_VARIABLES[variant], **ROOT_VARIABLES}
    root = roots.get("root") or environ.get(variables["root"])
    layout = "original" if root is None else guess_layout(Path(root))
    needed = [
        "root",
        *(["gemma_root"] if layout == "original" else []),
        *(["depth_pro_root"] if asks_depth_pro else []),
    ]
    model: Json = {"variant": variant, "layout": layout}
    for name in needed:
        if name in roots:
            continue
        model[name] = f"${{{variables[name]}}}"
        if variables[name] not in environ:
            notes.append(f"{variables[name]} is not set: export it before the run, or name the folder here")
    return model | {name: escape_variables(str(path.absolute())) for name, path in roots.items()}


def _written(path: Path, folder: Path) -> str:
    """A path as the manifest names it: relative where it lies below the manifest, else absolute."""
    absolute, base = path.absolute(), folder.absolute()
    below = absolute.is_relative_to(base)
    return escape_variables(os.path.relpath(absolute, base) if below else str(absolute))
