"""All that can be known before a run starts, without torch: inputs, weights, disk."""

from __future__ import annotations

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from sana_wm.camera.field_of_view import doubt_about
from sana_wm.camera.intrinsics import read_intrinsics
from sana_wm.errors import (
    HandoffError,
    IncompleteWeightsError,
    ManifestError,
    PictureError,
    Problem,
    StageFailedError,
    UsageError,
    WeightsError,
)
from sana_wm.handoff.camera_path import intrinsics_source
from sana_wm.handoff.receipts import WeightFile
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.launcher.inputs import check_inputs, describe_crop, hash_inputs, read_prompt, record_picture
from sana_wm.launcher.intrinsics import estimate_intrinsics, settle_intrinsics, video_field_of_view_deg
from sana_wm.launcher.space import existing_part, free_bytes_at, needed_by_volume
from sana_wm.machine import version_of
from sana_wm.manifest.loading import parse_manifest
from sana_wm.manifest.model import ESTIMATE, IntrinsicsEstimate, Manifest, RunManifest
from sana_wm.names import STAGES, Stage
from sana_wm.patches.checkout import inspect_checkout, require_patched
from sana_wm.video.encoder import check_codec
from sana_wm.video.picture import inspect_picture
from sana_wm.weights.check import check_layout
from sana_wm.weights.manifest_layout import identify_weights, locate_weights

TRAINED_SIZE = (704, 1280)


def active_stages(manifest: Manifest) -> tuple[Stage, ...]:
    """The stages that this manifest uses."""
    return tuple(stage for stage in STAGES if stage != "refiner" or manifest.refiner.enabled)


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
    if manifest.refiner.enabled and manifest.refiner.sink_size >= manifest.latent_num_frames:
        problems.append(
            Problem(
                "refiner.sink_size",
                "leaves no latent frame to refine",
                got=str(manifest.refiner.sink_size),
                expected=f"less than the video's {manifest.latent_num_frames} latent frames",
                next_step="Lower it, or make a longer video.",
            )
        )
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
    """Whether NVIDIA's own code is there, patched and importable, if the manifest asks for it."""
    model = manifest.model
    if model.backend != "pr379" or model.pr_root is None:
        return []
    problems: list[Problem] = []
    try:
        require_patched(Path(model.pr_root))
    except UsageError as error:
        problems.append(Problem.of("model.pr_root", error))
    if find_spec("einops") is None:
        problems.append(
            Problem(
                "model.backend",
                "upstream's code needs the package einops",
                got="not installed",
                next_step="pip install 'sana-wm[pr379]'",
            )
        )
    return problems


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
        is_ours = before is not None and before.resolve() == folder.resolve()
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


def list_warnings(manifest: RunManifest) -> list[str]:
    """What runs but deserves a word, of a manifest that was checked."""
    warnings: list[str] = []
    size = (manifest.video.height, manifest.video.width)
    if size != TRAINED_SIZE:
        warnings.append(
            f"video: the model was trained at {TRAINED_SIZE[0]}x{TRAINED_SIZE[1]}, not at {size[0]}x{size[1]}"
        )
    if manifest.model.backend == "pr379" and manifest.model.pr_root and not check_backend(manifest):
        report = inspect_checkout(Path(manifest.model.pr_root))
        if report.tested_as is None:
            warnings.append(f"model.pr_root: this release was not tested with commit {report.commit[:12]}")
        if report.changed:
            warnings.append(f"model.pr_root: {', '.join(report.changed)} differ from the commit")
    first = read_intrinsics(intrinsics_source(manifest.camera), manifest.video.num_frames)[0]
    picture = inspect_picture(Path(manifest.input.image))
    warnings += [f"input.image: {note}" for note in picture.notes]
    if cut := describe_crop(picture.size, manifest.video):
        warnings.append(f"input.image: {cut}")
    across_deg = video_field_of_view_deg(manifest, tuple(first.tolist()), picture.size)[0]
    if doubt := doubt_about(across_deg):
        warnings.append(f"camera.intrinsics: {doubt}; they are in pixels of the input image")
    return warnings


def check_manifest(manifest: Manifest) -> RunManifest:
    """Check everything a manifest names and resolve it for a run.

    Raises:
        ManifestError: Inputs or output have problems; weight problems are listed with them.
        IncompleteWeightsError: Only the weights have problems.
    """
    manifest, estimate, unsettled = _settle_intrinsics(manifest)
    problems = [*unsettled, *find_problems(manifest)]
    weight_problems = check_layout(locate_weights(manifest), active_stages(manifest))
    if problems:
        raise ManifestError([*problems, *weight_problems])
    if weight_problems:
        raise IncompleteWeightsError(weight_problems)
    return resolve_manifest(manifest, estimate)


def _settle_intrinsics(manifest: Manifest) -> tuple[Manifest, IntrinsicsEstimate | None, list[Problem]]:
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


def resolve_manifest(manifest: Manifest, estimate: IntrinsicsEstimate | None = None) -> RunManifest:
    """What `manifest.json` of the run directory holds: the prompt's text in place, inputs by hash."""
    data = manifest.model_dump(mode="json")
    data["intrinsics_estimate"] = estimate and estimate.model_dump(mode="json")
    data["input"] |= {"prompt": read_prompt(manifest), "prompt_file": None}
    data["picture"] = record_picture(Path(manifest.input.image)).model_dump(mode="json")
    data["inputs"] = {name: file.model_dump() for name, file in hash_inputs(manifest).items()}
    return parse_manifest(data, RunManifest)
