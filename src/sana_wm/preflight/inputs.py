"""The inputs of a run, opened and checked: picture, prompt, camera path, intrinsics. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sana_wm.camera.intrinsics import read_intrinsics
from sana_wm.camera.of_manifest import CameraPath, intrinsics_source, load_camera_path, load_intrinsics
from sana_wm.camera.plausibility import require_pixels
from sana_wm.camera.poses.colmap import cameras_file
from sana_wm.durable import sha256_of
from sana_wm.errors import Problem, SanaWMError, UsageError
from sana_wm.manifest.model import ESTIMATE, Manifest
from sana_wm.manifest.run_manifest import InputFile, PictureRecord
from sana_wm.preflight.prompts import check_prompts
from sana_wm.runs.earlier import earlier_files
from sana_wm.variants import MODELS
from sana_wm.video.picture import inspect_picture

Result = TypeVar("Result")


def check_inputs(manifest: Manifest) -> list[Problem]:
    """Open everything the manifest names; returns all problems found."""
    problems: list[Problem] = []
    picture = _attempt("input.image", problems, lambda: inspect_picture(Path(manifest.input.image)))
    problems += check_prompts(manifest)
    _attempt("input.continues", problems, lambda: _check_earlier(manifest))
    field = "camera.poses" if manifest.camera.poses is not None else "camera.action"
    is_named = (manifest.camera.poses, manifest.camera.action) != (None, None)
    path = _attempt(field, problems, lambda: load_camera_path(manifest)) if is_named else None
    if path is not None:
        model, num_frames = MODELS[manifest.model.variant], manifest.video.num_frames
        _attempt("video.num_frames", problems, lambda: path.trajectory.first(num_frames, model=model))
    if manifest.camera.intrinsics != ESTIMATE:
        _attempt("camera.intrinsics", problems, lambda: _check_intrinsics(manifest, path, picture and picture.size))
    return problems


def _check_earlier(manifest: Manifest) -> None:
    if missing := [file for file in earlier_files(manifest).values() if not file.is_file()]:
        raise UsageError(
            "the run that this one goes on from is not whole",
            got=f"no file {missing[0]}",
            expected="a finished run of the streaming model",
            next_step="Put the file back, or finish that run.",
        )


def _check_intrinsics(manifest: Manifest, path: CameraPath | None, picture_size: tuple[int, int] | None) -> None:
    """Read them, as far as what they depend on could be read."""
    if path is None or picture_size is None:
        if (source := intrinsics_source(manifest.camera)) is not None:
            read_intrinsics(source, manifest.video.num_frames)
        return
    require_pixels(load_intrinsics(manifest, path, manifest.video.num_frames, picture_size), picture_size)


def hash_inputs(manifest: Manifest) -> dict[str, InputFile]:
    """Path and SHA-256 of every input file, by manifest field."""
    fields = {
        "input.image": manifest.input.image,
        "input.prompt_file": manifest.input.prompt_file,
        "input.continues": manifest.input.continues,
        "camera.poses": manifest.camera.poses,
        "camera.intrinsics": manifest.camera.intrinsics,
    }
    if manifest.camera.poses is not None and (cameras := cameras_file(Path(manifest.camera.poses))) is not None:
        fields["camera.poses.cameras"] = str(cameras)
    fields |= {name: str(file) for name, file in earlier_files(manifest).items()}
    return {
        name: InputFile(path=path, sha256=sha256_of(Path(path)))
        for name, path in fields.items()
        if isinstance(path, str)
    }


def record_picture(path: Path) -> PictureRecord:
    """What becomes of the picture on its way to the model, as the run directory keeps it.

    Raises:
        PictureError: It cannot be the first frame.
    """
    facts = inspect_picture(path)
    return PictureRecord(kind=facts.kind, size=facts.size, converted_from=facts.converted_from, notes=facts.notes)


def _attempt(field: str, problems: list[Problem], action: Callable[[], Result]) -> Result | None:
    try:
        return action()
    except SanaWMError as error:
        problems.append(Problem.of(field, error))
        return None
