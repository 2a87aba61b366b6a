"""The inputs of a run, opened and checked: picture, prompt, camera path, intrinsics. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sana_wm.camera.intrinsics import read_intrinsics
from sana_wm.durable import sha256_of
from sana_wm.errors import Problem, SanaWMError, UsageError
from sana_wm.handoff.camera_path import intrinsics_source, load_trajectory
from sana_wm.manifest.model import ESTIMATE, InputFile, Manifest
from sana_wm.video.picture import open_picture

#: The text encoder takes 300 tokens; this is another file.
MAX_PROMPT_BYTES = 1024**2

Result = TypeVar("Result")


def check_inputs(manifest: Manifest) -> list[Problem]:
    """Open everything the manifest names; returns all problems found."""
    problems: list[Problem] = []
    _attempt("input.image", problems, lambda: open_picture(Path(manifest.input.image)))
    if (prompt_file := manifest.input.prompt_file) is not None:
        _attempt("input.prompt_file", problems, lambda: _check_prompt_file(Path(prompt_file)))
    field = "camera.poses" if manifest.camera.poses is not None else "camera.action"
    trajectory = _attempt(field, problems, lambda: load_trajectory(manifest.camera))
    if trajectory is not None:
        _attempt("video.num_frames", problems, lambda: trajectory.first(manifest.video.num_frames))
    if manifest.camera.intrinsics != ESTIMATE:
        _attempt(
            "camera.intrinsics",
            problems,
            lambda: read_intrinsics(intrinsics_source(manifest.camera), manifest.video.num_frames),
        )
    return problems


def hash_inputs(manifest: Manifest) -> dict[str, InputFile]:
    """Path and SHA-256 of every input file, by manifest field."""
    fields = {
        "input.image": manifest.input.image,
        "input.prompt_file": manifest.input.prompt_file,
        "camera.poses": manifest.camera.poses,
        "camera.intrinsics": manifest.camera.intrinsics,
    }
    return {
        name: InputFile(path=path, sha256=sha256_of(Path(path)))
        for name, path in fields.items()
        if isinstance(path, str)
    }


def read_prompt(manifest: Manifest) -> str:
    """The prompt's text, wherever it stands."""
    if manifest.input.prompt_file is not None:
        return _read_text(Path(manifest.input.prompt_file)).strip()
    assert manifest.input.prompt is not None  # the model sees to it that exactly one is given
    return manifest.input.prompt


def _check_prompt_file(path: Path) -> None:
    try:
        text = _read_text(path)
    except FileNotFoundError:
        raise UsageError(f"no file {path}", expected="a prompt's text", next_step="Check the path.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read", got=error, expected="text in UTF-8") from error
    if not text.strip():
        raise UsageError(f"{path} is empty", expected="a prompt", next_step="Write one into it.")


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_PROMPT_BYTES + 1)
    if len(content) > MAX_PROMPT_BYTES:
        raise ValueError(f"more than {MAX_PROMPT_BYTES} bytes")
    return content.decode()


def _attempt(field: str, problems: list[Problem], action: Callable[[], Result]) -> Result | None:
    try:
        return action()
    except SanaWMError as error:
        problems.append(Problem.of(field, error))
        return None
