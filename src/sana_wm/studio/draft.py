"""What the form of a new video says, looked at as `sana-wm run --dry-run` looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from sana_wm.camera.preview import Scene, fitting_backdrop
from sana_wm.drafting.camera_preview import WrittenPreview, write_preview
from sana_wm.drafting.camera_view import CameraView, view_of_manifest
from sana_wm.drafting.live_frame import CAMERA_HEIGHT
from sana_wm.drafting.new_manifest import draft_manifest, write_manifest
from sana_wm.drafting.new_run import NewRun, require_weights, write_new_run
from sana_wm.drafting.request import VideoRequest
from sana_wm.durable import make_folder
from sana_wm.errors import SanaWMError, UsageError
from sana_wm.figures import format_bytes, format_seconds
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.model import Manifest
from sana_wm.preflight.prompts import describe_cut
from sana_wm.preflight.prospect import Prospect, inspect
from sana_wm.studio.desk import Desk
from sana_wm.weights.manifest_layout import locate_weights
from sana_wm.weights.prompt_tokens import count_stage1_prompt


@dataclass(frozen=True)
class Look:
    """What was seen of a form.

    Attributes:
        plan: Memory and time, in words, a line each.
        notes: What deserves a word.
        problems: What keeps it from starting.
        tokens: Of the prompt, in words; empty where they cannot be counted.
    """

    plan: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    tokens: str = ""


def look_at(desk: Desk, said: VideoRequest) -> Look:
    """Look at what a form says; nothing of it stays."""
    make_folder(desk.own)
    with TemporaryDirectory(dir=desk.own) as folder:
        try:
            path, notes = _write(desk, said, Path(folder))
            prospect = inspect(path, desk.environment)
            tokens = count_tokens(load_manifest(path, desk.environment), said.prompt or "")
        except SanaWMError as error:
            return Look(problems=(str(error),))
    problems = tuple(dict.fromkeys([*(str(one) for one in prospect.problems), *map(str, prospect.errors)]))
    told = [line.replace(str(said.image), "the picture") for line in (*notes, *prospect.warnings)]
    return Look(describe_plan(prospect), tuple(told), problems if prospect.errors else (), tokens)


def describe_plan(prospect: Prospect) -> tuple[str, ...]:
    """Memory, time and disk of what would run."""
    plan = prospect.plan
    if plan is None:
        return ()
    low_s, high_s = plan.range_s
    guess = "" if plan.is_measured else f"; a guess, between {format_seconds(low_s)} and {format_seconds(high_s)}"
    return (
        f"memory: {format_bytes(plan.peak_bytes)} at most of {format_bytes(plan.cap_bytes)}",
        f"time: {format_seconds(plan.seconds)}{guess}",
        f"disk: {format_bytes(plan.disk_bytes)} of {format_bytes(plan.free_disk_bytes)} that are free",
    )


def count_tokens(manifest: Manifest, prompt: str) -> str:
    """How many tokens Stage 1 reads of a prompt, and where it is cut."""
    if not prompt.strip():
        return ""
    try:
        counted = count_stage1_prompt(locate_weights(manifest).stage1_tokenizer, prompt)
    except SanaWMError as error:
        return str(error)
    if counted.cut is None:
        return f"{counted.num_tokens} of {counted.room} tokens"
    return describe_cut(prompt, counted, "Stage 1")


def write_camera_preview(desk: Desk, said: VideoRequest, key: str) -> WrittenPreview:
    """Write the preview of a form's camera; what it holds.

    Raises:
        SanaWMError: The form or its path cannot be used.
    """
    make_folder(desk.own)
    with TemporaryDirectory(dir=desk.own) as drafts:
        path, _ = _write(desk, said, Path(drafts))
        view = view_of_manifest(load_manifest(path, desk.environment))
    return write_view_preview(desk, view, key)


def write_view_preview(desk: Desk, view: CameraView, key: str) -> WrittenPreview:
    """Write the preview of a camera under a key; what it holds.

    Raises:
        SanaWMError: Its path cannot be shown.
    """
    folder = desk.own / "previews"
    make_folder(folder)
    return write_preview(view, Scene(fitting_backdrop(view.trajectory), CAMERA_HEIGHT), folder / f"{key}.mp4")


def parse_seeds(text: str) -> list[int]:
    """`1 2 3` or `1, 2, 3`, each once.

    Raises:
        UsageError: There is something else in it.
    """
    words = text.replace(",", " ").split()
    if not all(word.isdecimal() for word in words):
        raise UsageError("the seeds cannot be read", got=repr(text), expected="numbers from 0: 1 2 3")
    return list(dict.fromkeys(map(int, words)))


def write_runs(desk: Desk, said: VideoRequest, seeds: Sequence[int]) -> list[NewRun]:
    """Write a new run for each seed, or one.

    Raises:
        SanaWMError: One cannot be written; then none is.
    """
    new: list[NewRun] = []
    try:
        for one in [replace(said, seed=seed) for seed in seeds] or [said]:
            new.append(write_new_run(one, desk.environment, desk.runs))
    except SanaWMError:
        for written in new:
            written.discard_unstarted()
        raise
    return new


def _write(desk: Desk, said: VideoRequest, folder: Path) -> tuple[Path, list[str]]:
    require_weights(said, desk.environment)
    data, notes = draft_manifest(replace(said, out=folder / "run"), folder, desk.environment)
    path = folder / "run.json"
    write_manifest(data, path)
    return path, notes
