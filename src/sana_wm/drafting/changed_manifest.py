"""A manifest that is there, with what a user says in the place of what it said. Loads no torch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sana_wm.camera.actions import parse_action
from sana_wm.drafting.new_manifest import (
    manifest_of_run,
    model_section,
    set_plain_fields,
    written_prompt,
)
from sana_wm.drafting.presets import apply_preset
from sana_wm.drafting.request import VideoRequest
from sana_wm.drafting.said_camera import (
    camera_way,
    choose_intrinsics,
    choose_num_frames,
    frames_of_seconds,
    require_way,
    written_path,
)
from sana_wm.errors import UsageError
from sana_wm.manifest.field_table import field_defaults
from sana_wm.manifest.loading import escape_variables
from sana_wm.manifest.portable import rerun_manifest
from sana_wm.runs.links import changed_inputs
from sana_wm.variants import MODELS, ReleasedModel
from sana_wm.weights.finding import ROOT_VARIABLES

Json = dict[str, Any]


def change_manifest(
    before: Json, said: VideoRequest, folder: Path, environ: Mapping[str, str], *, same_picture: bool = False
) -> tuple[Json, list[str]]:
    """Put what a user says into a manifest; whatever is not said stays as it was.

    With another run directory no frames go where those of the one before went.

    Args:
        before: The manifest, as its file or `rerun_manifest` holds it; it is not changed.
        said: What the user says.
        folder: Where the new manifest will lie; files that `before` names keep their names.
        environ: Tells which variables name weight folders.
        same_picture: The picture that is said has the content of the one before, so that its lens stays.

    Returns:
        The new manifest as its file holds it, and what a user should be told of it.

    Raises:
        UsageError: What is said contradicts itself, or what stays of the manifest.
    """
    said.refuse_contradictions()
    data, notes = copy.deepcopy(before), list[str]()
    data.setdefault("video", {})
    if said.out is not None:
        data["video"].pop("frames_dir", None)
    _change_model(data, said, environ, notes)
    if said.image is not None:
        data["input"]["image"] = written_path(said.image, folder)
    if said.prompt is not None or said.prompt_file is not None:
        data["input"] |= {"prompt": None, "prompt_file": None, **written_prompt(said, folder)}
    _change_camera(data, said, folder, notes)
    _change_lens(data, said, folder, environ, notes, same_picture=same_picture)
    set_plain_fields(data, said, folder)
    return data, notes


def manifest_from_run(
    source: Path, said: VideoRequest, folder: Path, environ: Mapping[str, str]
) -> tuple[Json, list[str]]:
    """The manifest that makes a run's video again, changed by what a user says; it keeps `output_dir`.

    Args:
        source: A run directory, or a video.
        said: What the user says.
        folder: Where the new manifest will lie.
        environ: Tells which variables name weight folders.

    Returns:
        As `change_manifest`; told is too which inputs are not what they were.

    Raises:
        UsageError: As `change_manifest`; or the video carries no manifest.
        HandoffError: Neither a run directory nor a video.
    """
    manifest = manifest_of_run(source)
    changed = changed_inputs(manifest, said.image)
    notes = [
        f"{one.field}: {one.path} is {'not the file that the run used' if one.sha256 else 'not there'}"
        for one in changed
    ]
    same_picture = all(one.field != "input.image" for one in changed)
    data, more = change_manifest(rerun_manifest(manifest), said, folder, environ, same_picture=same_picture)
    return data, [*notes, *more]


def _change_model(data: Json, said: VideoRequest, environ: Mapping[str, str], notes: list[str]) -> None:
    """Model, preset and weight folders; what another model or preset had set is set no more."""
    model = data["model"]
    variant = model.get("variant", "bidirectional")
    wanted = said.variant or variant
    if wanted != variant:
        for name in (*MODELS[variant].taught, *MODELS[wanted].taught, *MODELS[wanted].unread):
            section, _, key = name.partition(".")
            data.get(section, {}).pop(key, None)
        folders = model_section(said.roots, environ, notes, wanted, asks_depth_pro=False)
        data["model"] = {**dict.fromkeys(("gemma_root", "refiner_root")), **_without_roots(model), **folders}
    elif said.roots:
        data["model"] |= {name: escape_variables(str(path.absolute())) for name, path in said.roots.items()}
    if said.preset is not None:
        apply_preset(data, said.preset, wanted)


def _without_roots(model: Json) -> Json:
    """A model's section without where its weights lie; Depth Pro's are no model's."""
    return {name: value for name, value in model.items() if name not in ("root", "gemma_root", "refiner_root")}


def _change_camera(data: Json, said: VideoRequest, folder: Path, notes: list[str]) -> None:
    """The camera's way and how many frames are made of it."""
    camera, video = data["camera"], data["video"]
    model, fps = MODELS[data["model"].get("variant", "bidirectional")], video.get("fps", _default("video.fps"))
    wanted = None if said.seconds is None else frames_of_seconds(said.seconds, fps, model)
    num_frames = wanted or video.get("num_frames", _default("video.num_frames"))
    way = camera_way(said, camera, folder, notes, num_frames=num_frames, fps=fps)
    if way is None:
        if said.dialect is not None:
            if camera.get("action") is None:
                raise UsageError("--dialect belongs to an action string", got="poses", next_step="Add --action.")
            camera["dialect"] = said.dialect
        if wanted is not None:
            _require_known_way(camera, wanted, fps)
        video["num_frames"] = wanted or _kept_length(video.get("num_frames", _default("video.num_frames")), model, fps)
        return
    fields, available = way
    camera |= fields
    video["num_frames"] = choose_num_frames(wanted, available, model, fps, notes)


def _require_known_way(camera: Json, num_frames: int, fps: int) -> None:
    """Refuse a length that an action does not give; of poses the look at the manifest says it."""
    if camera.get("action") is not None:
        require_way(num_frames, sum(segment.num_frames for segment in parse_action(camera["action"])) + 1, fps)


def _kept_length(num_frames: int, model: ReleasedModel, fps: int) -> int:
    """The length so far, if the model makes it."""
    if num_frames in model.num_frames_near(num_frames):
        return num_frames
    raise UsageError(
        f"the video so far has no length of the {model.title}: {model.frames_step}k + 1 frames",
        got=f"{num_frames} frames",
        expected=" or ".join(f"--seconds {(near - 1) / fps:g}" for near in sorted(model.num_frames_near(num_frames))),
        next_step="Say one of them.",
    )


def _change_lens(
    data: Json, said: VideoRequest, folder: Path, environ: Mapping[str, str], notes: list[str], *, same_picture: bool
) -> None:
    """The intrinsics, where they are said or what there was does not hold any more."""
    camera = data["camera"]
    from_poses = camera.get("intrinsics") is None and camera.get("poses") is None
    other_picture = said.image is not None and not same_picture
    if not (said.says_lens or other_picture or from_poses):
        return
    variable = ROOT_VARIABLES["depth_pro_root"]
    if data["model"].get("depth_pro_root") is None and variable in environ:
        data["model"]["depth_pro_root"] = f"${{{variable}}}"
    image = said.image or (folder / Path(data["input"]["image"]).expanduser())
    knows_depth_pro = data["model"].get("depth_pro_root") is not None
    camera["intrinsics"] = choose_intrinsics(
        image, said.intrinsics, said.fov_deg, folder, notes, knows_depth_pro=knows_depth_pro
    )


def _default(name: str) -> Any:
    return field_defaults()[name]
