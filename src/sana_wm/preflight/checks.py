"""All that can be known before a run starts, without torch: inputs, weights, disk."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from sana_wm.backends import backend_of, load_part
from sana_wm.camera.crop_words import describe_size
from sana_wm.camera.of_manifest import picture_geometry
from sana_wm.errors import (
    HandoffError,
    IncompleteWeightsError,
    ManifestError,
    ModuleEndedError,
    PictureError,
    Problem,
    StageFailedError,
    UsageError,
    WeightsError,
)
from sana_wm.machine import version_of
from sana_wm.manifest.loading import parse_manifest
from sana_wm.manifest.model import ESTIMATE, Manifest
from sana_wm.manifest.run_manifest import IntrinsicsEstimate, RunManifest
from sana_wm.names import Stage
from sana_wm.pipeline import PIPELINE, active_stages
from sana_wm.planning.cap import settle_cap
from sana_wm.planning.device import Device
from sana_wm.planning.space import check_space, existing_part, free_bytes_at, needed_by_volume
from sana_wm.planning.this_device import find_device
from sana_wm.preflight.camera_doubts import doubts_about_camera
from sana_wm.preflight.crop_advice import advise_on_crop
from sana_wm.preflight.inputs import check_inputs, hash_inputs, record_picture
from sana_wm.preflight.intrinsics import estimate_intrinsics, settle_intrinsics
from sana_wm.preflight.prompts import doubts_about_length, notes_on_prompts, read_negative_prompt, read_prompt
from sana_wm.runs.links import require_inputs
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.video.encoder import check_codec
from sana_wm.video.picture import inspect_picture
from sana_wm.weights.check import check_layout
from sana_wm.weights.manifest_layout import WeightFile, identify_weights, locate_weights


def current_weights(manifest: Manifest) -> list[WeightFile]:
    """The identity of every weight file that the manifest's stages read and that is there."""
    layout = locate_weights(manifest)
    return [file for stage in active_stages(manifest) for file in identify_weights(layout, stage)]


def check_output(manifest: Manifest) -> list[Problem]:
    """Whether what the run writes can be written, and its disk has the room."""
    problems = _check_writable("output_dir", Path(manifest.output_dir))
    if not problems:
        try:
            RunDirectory(Path(manifest.output_dir)).refuse_foreign_content()
        except HandoffError as error:
            problems.append(Problem.of("output_dir", error))
    if manifest.video.frames_dir is not None:
        problems += _check_writable("video.frames_dir", Path(manifest.video.frames_dir))
        problems += _check_frames_folder(RunDirectory(Path(manifest.output_dir)), Path(manifest.video.frames_dir))
    if not problems:
        run_folder = Path(manifest.output_dir)
        for folder, wanted_bytes in needed_by_volume(run_folder, manifest, active_stages(manifest)).items():
            free_bytes = free_bytes_at(folder)
            if free_bytes < wanted_bytes:
                field = "output_dir" if folder == run_folder else "video.frames_dir"
                problems.append(
                    Problem(
                        field,
                        f"too little free space for {folder}",
                        got=f"{free_bytes} bytes",
                        expected=f"{wanted_bytes} bytes or more",
                        next_step=f"Free some space or choose another {field}.",
                    )
                )
    return problems


def find_problems(manifest: Manifest) -> list[Problem]:
    """Everything about a manifest that would stop its run, but for its weights and its plan."""
    return [
        *check_inputs(manifest),
        *check_settings(manifest),
        *check_backend(manifest),
        *check_output(manifest),
    ]


def check_settings(manifest: Manifest) -> list[Problem]:
    """Settings that are each valid and do not go together, or not with this machine."""
    problems: list[Problem] = []
    if why := _why_no_device(manifest.device):
        problems.append(
            Problem(
                "device",
                f"device {manifest.device} is not available",
                got=why,
                expected="auto, or a device of this machine",
                next_step='Set "device": "auto".',
            )
        )
    try:
        check_codec(manifest.video.codec)
    except (UsageError, StageFailedError) as error:  # this ffmpeg has no such encoder, or cannot be started
        problems.append(Problem.of("video.codec", error))
    return problems


def _why_no_device(name: str) -> str | None:
    """Why a device cannot be here, as far as that is known without torch; the stage looks again."""
    if name == "mps" and sys.platform != "darwin":
        return "no macOS"
    if name == "cuda" and sys.platform == "darwin":
        return "macOS"
    torch = version_of("torch") or ""
    return f"torch {torch}, built without CUDA" if name == "cuda" and torch.endswith("+cpu") else None


def check_backend(manifest: Manifest) -> list[Problem]:
    """Whether what the manifest's engine needs is installed."""
    look = backend_of(manifest).find_problems
    return load_part(look)(manifest) if look is not None else []


def _check_writable(field: str, folder: Path) -> list[Problem]:
    try:
        existing = existing_part(folder)
        # Trying is the only true answer: permissions, read-only volumes and special file systems all count.
        tempfile.TemporaryDirectory(dir=existing, prefix=".sana-wm-").cleanup()
    except OSError as error:
        return [
            Problem(
                field,
                f"{folder} cannot be written",
                got=f"{error.filename}: {error.strerror}",
                expected="a folder that you may write to",
                next_step=f"Choose another {field}.",
            )
        ]
    return []


def _check_frames_folder(run: RunDirectory, folder: Path) -> list[Problem]:
    """Frames are written over what is there: nobody else's pictures may be."""
    try:
        before = run.frames_folder(run.read_manifest())
        is_ours = before is not None and os.path.realpath(before) == os.path.realpath(folder)
    except HandoffError:
        is_ours = False
    present = [] if is_ours or not folder.is_dir() else [path.name for path in folder.iterdir()]
    if foreign := sorted(name for name in present if not name.startswith(".")):
        return [
            Problem(
                "video.frames_dir",
                f"{folder} is not empty and is not this run's",
                got=", ".join(foreign[:5]),
                expected="a new or empty folder",
                next_step="Choose another video.frames_dir.",
            )
        ]
    return []


def list_warnings(asked: Manifest, manifest: RunManifest) -> list[str]:
    """What runs but deserves a word.

    Args:
        asked: What was asked for, checked.
        manifest: What would run.
    """
    warnings: list[str] = []
    if untried := describe_size((manifest.video.width, manifest.video.height)):
        warnings.append(f"video: {untried}")
    if (look := backend_of(manifest).list_warnings) is not None:
        warnings += load_part(look)(manifest)
    if manifest.model.weights == "int8":
        warnings.append(
            "model.weights: int8 was tried with random weights only (docs/int8.md); look at a short video first"
        )
    warnings += notes_on_prompts(asked) + doubts_about_length(manifest, locate_weights(manifest))
    if manifest.input.continues is not None and manifest.stage1.chunk_noise == "clip":
        warnings.append(
            "stage1.chunk_noise: clip draws noise by the length: what is new is not what one long run would show"
        )
    picture = inspect_picture(Path(manifest.input.image))
    warnings += [f"input.image: {note}" for note in picture.notes]
    geometry = picture_geometry(manifest, picture.size)
    if cut := advise_on_crop(Path(manifest.input.image), geometry, manifest.input.crop):
        warnings.append(f"input.image: {cut}")
    warnings += [f"{field}: {words}" for field, words in doubts_about_camera(manifest, picture.size)]
    return warnings


def settle_estimate(manifest: Manifest) -> tuple[Manifest, IntrinsicsEstimate | None, list[Problem]]:
    """Put numbers in the place of `"estimate"`."""
    if manifest.camera.intrinsics != ESTIMATE:
        return manifest, None, []
    try:
        estimate = estimate_intrinsics(manifest)
    except PictureError:
        return manifest, None, []  # `check_inputs` names it
    except (UsageError, WeightsError) as error:
        return manifest, None, [Problem.of("camera.intrinsics", error)]
    return settle_intrinsics(manifest, estimate), estimate, []


def known_device(manifest: Manifest) -> Device:
    """The device that a manifest means.

    Raises:
        ManifestError: It cannot be used.
    """
    try:
        return find_device(manifest.device)
    except ModuleEndedError as error:  # what torch said is on standard error
        advice = 'Set "device": "auto", or install a torch build for it.'
        problem = Problem("device", f"device {manifest.device} cannot be used", got=str(error), next_step=advice)
        raise ManifestError([problem]) from error


def resolve_manifest(manifest: Manifest, estimate: IntrinsicsEstimate | None = None) -> RunManifest:
    """What `manifest.json` of the run directory holds: the prompt's text in place, inputs by hash, the cap a number.

    Raises:
        ManifestError: The cap asks for the device, which cannot be used.
    """
    if manifest.memory.cap_gib == "auto":
        manifest = settle_cap(manifest, known_device(manifest))
    data = manifest.model_dump(mode="json")
    data["intrinsics_estimate"] = estimate and estimate.model_dump(mode="json")
    data["input"] |= {
        "prompt": read_prompt(manifest).content,
        "prompt_file": None,
        "negative_prompt": read_negative_prompt(manifest).content,
    }
    data["picture"] = record_picture(Path(manifest.input.image)).model_dump(mode="json")
    data["inputs"] = {name: file.model_dump() for name, file in hash_inputs(manifest).items()}
    return parse_manifest(data, RunManifest)


def start_checks(run: RunDirectory, manifest: RunManifest, stages: Sequence[Stage]) -> Iterator[Callable[[], None]]:
    """All that must hold before anything of an earlier result is touched, each as a check of its own that raises.

    Raises:
        IncompleteWeightsError: Weights of these stages are missing or damaged.
        HandoffError: An input file is not the run's, or there is too little space for the first of them.
        UsageError: ffmpeg cannot write the video.
    """
    if not stages:
        return
    yield partial(_check_weights, run, manifest, stages)
    for stage in stages:
        yield partial(require_inputs, manifest, stage)
    if any(PIPELINE[stage].encodes_video for stage in stages):
        yield partial(check_codec, manifest.video.codec)
    if run.path.exists():  # for one that is to be made, `preflight.check_output` has looked
        yield partial(check_space, run, manifest, stages[0])


def _check_weights(run: RunDirectory, manifest: RunManifest, stages: Sequence[Stage]) -> None:
    if problems := check_layout(locate_weights(manifest), stages):
        moved = (
            "If the weights have moved, set their folders in your own manifest and run it again with run-pipeline: "
            "this run goes on."
        )
        raise IncompleteWeightsError(problems, moved if run.is_ours() else None)
