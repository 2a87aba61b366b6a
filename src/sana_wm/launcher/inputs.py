"""The inputs of a run, opened and checked: picture, prompt, camera path, intrinsics. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sana_wm.camera.intrinsics import read_intrinsics
from sana_wm.durable import sha256_of
from sana_wm.errors import Problem, SanaWMError
from sana_wm.handoff.camera_path import intrinsics_source, load_trajectory
from sana_wm.manifest.model import ESTIMATE, InputFile, Manifest
from sana_wm.video.picture import open_picture

#: The text encoder takes 300 tokens; this is another file.
MAX_PROMPT_BYTES = 1024**2

Result = TypeVar("Result")


def check_inputs(manifest: Manifest) -> list[Problem]:
    """Open everything the manifest names; returns all problems found."""
    problems: list[Problem] = []
    _check_image(Path(manifest.input.image), problems)
    if manifest.input.prompt_file is not None:
        _check_prompt_file(Path(manifest.input.prompt_file), problems)
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


def _check_image(path: Path, problems: list[Problem]) -> None:
    try:
        open_picture(path)
    except FileNotFoundError:
        problems.append(_missing("input.image", path))
    except ValueError as error:
        problems.append(
            Problem(
                "input.image",
                f"{path} cannot be used as the first frame",
                got=str(error),
                expected="a whole PNG, JPEG or other picture",
                next_step="Save the picture again.",
            )
        )


def _check_prompt_file(path: Path, problems: list[Problem]) -> None:
    try:
        text = _read_text(path)
    except FileNotFoundError:
        problems.append(_missing("input.prompt_file", path))
    except (OSError, ValueError) as error:
        problems.append(
            Problem("input.prompt_file", f"{path} cannot be read", got=str(error), expected="text in UTF-8")
        )
    else:
        if not text.strip():
            problems.append(
                Problem("input.prompt_file", f"{path} is empty", expected="a prompt", next_step="Write one into it.")
            )


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_PROMPT_BYTES + 1)
    if len(content) > MAX_PROMPT_BYTES:
        raise ValueError(f"more than {MAX_PROMPT_BYTES} bytes")
    return content.decode()


def _missing(field: str, path: Path) -> Problem:
    return Problem(field, f"no file {path}", expected="an existing file", next_step="Check the path.")


def _attempt(field: str, problems: list[Problem], action: Callable[[], Result]) -> Result | None:
    try:
        return action()
    except SanaWMError as error:
        problems.append(
            Problem(
                field,
                error.what,
                got=None if error.got is None else str(error.got),
                expected=None if error.expected is None else str(error.expected),
                next_step=error.next_step,
            )
        )
        return None
