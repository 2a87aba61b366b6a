"""New manifests: from a picture and a prompt, or from a run or a video that is there. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sana_wm.camera.crop import CENTRE
from sana_wm.camera.crop_words import describe_size
from sana_wm.camera.intrinsics import crop_geometry
from sana_wm.camera.poses.reading import read_poses
from sana_wm.drafting.presets import DEFAULT_PRESET, apply_preset
from sana_wm.drafting.request import VideoRequest
from sana_wm.drafting.said_camera import (
    camera_way,
    choose_intrinsics,
    choose_num_frames,
    frames_of_seconds,
    written_path,
)
from sana_wm.durable import write_durably
from sana_wm.errors import HandoffError, ManifestError, UsageError
from sana_wm.manifest.loading import escape_variables
from sana_wm.manifest.model import ESTIMATE, RefinerSection, Stage1Section, VideoSection
from sana_wm.manifest.portable import parse_portable
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.manifest.schema import SCHEMA_KEY, schema_uri
from sana_wm.names import Variant
from sana_wm.preflight.crop_advice import advise_on_crop
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.sizes import TRAINED_SIZE
from sana_wm.variants import BIDIRECTIONAL, MODELS, ReleasedModel
from sana_wm.video.picture import inspect_picture
from sana_wm.video.reader import probe
from sana_wm.weights.finding import MODEL_ROOT_VARIABLES, ROOT_VARIABLES, find_weights

Json = dict[str, Any]

#: The length straight ahead where nobody says where to: 5 s, and of the streaming model the chunks that hold them.
STRAIGHT_AHEAD_FRAMES: Mapping[Variant, int] = {"bidirectional": 81, "streaming": 97}


def run_name(said: VideoRequest) -> str:
    """The name of a new run: its picture's and its preset's."""
    if said.image is None:
        raise UsageError("no first frame is named", expected="a picture", next_step="Name a picture.")
    model, preset = MODELS[said.variant or "bidirectional"], said.preset or DEFAULT_PRESET
    kind = preset if model is BIDIRECTIONAL else f"{model.variant}_{preset}"
    return f"{said.image.stem}_{kind.replace('-', '_')}"


def draft_manifest(said: VideoRequest, folder: Path, environ: Mapping[str, str]) -> tuple[Json, list[str]]:
    """Draft a manifest for a picture and a prompt.

    Args:
        said: What the user says of it.
        folder: Where the manifest will lie: files below it are named relative to it.
        environ: Tells which variables name weight folders.

    Returns:
        The manifest as its file holds it, and what a user should be told of it.

    Raises:
        UsageError: No picture or prompt is said, the picture or the camera path is not usable, its model makes no
            video of that length or has no such preset, or the field of view is not known.
    """
    said.refuse_contradictions()
    model, preset, effort = MODELS[said.variant or "bidirectional"], said.preset or DEFAULT_PRESET, Json()
    apply_preset(effort, preset, model.variant)
    name = escape_variables(run_name(said))
    assert said.image is not None  # or it has no name
    picture = inspect_picture(said.image)
    notes = [f"{said.image}: {note}" for note in picture.notes]
    camera, num_frames = _camera_path(said, model, folder, notes)
    knows_depth_pro = said.depth_pro_root is not None or ROOT_VARIABLES["depth_pro_root"] in environ
    (width, height), crop = said.size or TRAINED_SIZE, said.crop or CENTRE
    if untried := describe_size((width, height)):
        notes.append(untried)
    if cut := advise_on_crop(said.image, crop_geometry(picture.size, height=height, width=width, crop=crop), crop):
        notes.append(f"{said.image}: {cut}")
    if not said.says_lens and said.poses is not None and read_poses(said.poses).intrinsics is not None:
        camera["intrinsics"] = None
        notes.append("the intrinsics will be those in the poses file")
    else:
        camera["intrinsics"] = choose_intrinsics(
            said.image, said.intrinsics, said.fov_deg, folder, notes, knows_depth_pro=knows_depth_pro
        )
    asks_depth_pro = knows_depth_pro and camera["intrinsics"] == ESTIMATE
    shown = {"seed"} if model.is_unguided else {"guidance_scale", "seed"}
    data = {
        SCHEMA_KEY: schema_uri(),
        "version": 1,
        "name": name,
        "model": model_section(said.roots, environ, notes, model.variant, asks_depth_pro=asks_depth_pro),
        "input": {"image": written_path(said.image, folder), **written_prompt(said, folder)},
        "camera": camera,
        "video": {"num_frames": num_frames, **VideoSection().model_dump(include={"height", "width", "fps"})},
        "stage1": effort["stage1"] | Stage1Section().model_dump(include=shown),
        "refiner": effort["refiner"] | RefinerSection().model_dump(include={"seed"}),
        "output_dir": f"runs/{name}",
    }
    set_plain_fields(data, said, folder)
    return data, notes


def written_prompt(said: VideoRequest, folder: Path) -> Json:
    """The prompt's field.

    Raises:
        UsageError: No prompt is said.
    """
    if said.prompt_file is not None:
        return {"prompt_file": written_path(said.prompt_file, folder)}
    if said.prompt is None:
        raise UsageError("no prompt is given", expected="--prompt TEXT or --prompt-file FILE")
    return {"prompt": escape_variables(said.prompt)}


def set_plain_fields(data: Json, said: VideoRequest, folder: Path) -> None:
    """Write what asks for nothing else into a manifest: seeds, switches, limits and where results go."""
    width, height = said.size or (None, None)
    fields = {
        "input.crop": list(said.crop) if isinstance(said.crop, tuple) else said.crop,
        "input.negative_prompt": said.negative_prompt and escape_variables(said.negative_prompt),
        "video.width": width,
        "video.height": height,
        "video.overlay": said.overlay,
        "video.frames_dir": said.frames_dir and written_path(said.frames_dir, folder),
        "stage1.seed": said.seed,
        "refiner.seed": said.refiner_seed,
        "refiner.enabled": said.refine,
        "memory.cap_gib": said.cap_gib,
    }
    for name, value in fields.items():
        if value is not None:
            section, _, key = name.partition(".")
            data.setdefault(section, {})[key] = value
    if said.out is not None:
        data["output_dir"] = written_path(said.out, folder)


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


def _camera_path(said: VideoRequest, model: ReleasedModel, folder: Path, notes: list[str]) -> tuple[Json, int]:
    """The camera path's fields, and how many frames the video has."""
    fps = VideoSection().fps
    wanted = None if said.seconds is None else frames_of_seconds(said.seconds, fps, model)
    num_frames = wanted or STRAIGHT_AHEAD_FRAMES[model.variant]
    way = camera_way(said, {}, folder, notes, num_frames=num_frames, fps=fps)
    if way is None:
        action = f"w-{num_frames - 1}"
        notes.append(f"the camera goes straight ahead, {action}: change camera.action, or give --move or --action")
        way = camera_way(replace(said, action=action), {}, folder, notes, num_frames=num_frames, fps=fps)
        assert way is not None
    camera, available = way
    return camera, choose_num_frames(wanted, available, model, fps, notes)


def model_section(
    roots: Mapping[str, Path], environ: Mapping[str, str], notes: list[str], variant: Variant, *, asks_depth_pro: bool
) -> Json:
    """Weight folders as they are found; the layout is what the folder shows."""
    found = find_weights(variant, roots, environ)
    fields = dict(found.fields)
    variable = ROOT_VARIABLES["depth_pro_root"]
    if asks_depth_pro:
        fields.setdefault("depth_pro_root", f"${{{variable}}}")
    if found.source is not None:
        root = environ.get(MODEL_ROOT_VARIABLES[variant]) if isinstance(fields["root"], str) else fields["root"]
        notes.append(f"weights: {root}, from {found.source}")
    unset = "is not set: export it before the run, name the folder here, or say sana-wm weights use DIR"
    notes += (f"{name} {unset}" for name in found.unset)
    written = {
        name: value if isinstance(value, str) else escape_variables(str(value.absolute()))
        for name, value in fields.items()
    }
    return {"variant": variant, "layout": found.layout, **written}
