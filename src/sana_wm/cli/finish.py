"""The last words of a run: how long and how large its video is, what can be done with it, and that it is done."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sana_wm.cli.app import app
from sana_wm.errors import printable
from sana_wm.printing import drawing_stream, spelled_out

if TYPE_CHECKING:
    from sana_wm.manifest.run_manifest import RunManifest
    from sana_wm.runs.run_directory import RunDirectory


def finish(run: RunDirectory, *, open_it: bool) -> None:
    """Say all of it on standard error.

    Args:
        run: A run that has just ended well.
        open_it: Whether its video shall be shown.
    """
    manifest = run.read_manifest()
    _say_facts(run, run.video_file)
    typer.echo("next:", err=True)
    for command, what in next_commands(run.path, manifest):
        typer.echo(printable(f"  sana-wm {command:<40}  {what}"), err=True)
    notify(f"sana-wm: {manifest.name} is done")
    if open_it:
        open_in_player(run.video_file)


def show_preview(path: Path, *, open_it: bool) -> None:
    """Say the same of a run that stopped after its preview; what goes on with it has been said.

    Args:
        path: The run's directory.
        open_it: Whether the preview shall be shown.
    """
    from sana_wm.runs.run_directory import RunDirectory

    run = RunDirectory(path)
    _say_facts(run, run.preview_file)
    notify(f"sana-wm: {run.read_manifest().name} can be looked at")
    if open_it:
        open_in_player(run.preview_file)


def _say_facts(run: RunDirectory, video: Path) -> None:
    from sana_wm.figures import format_seconds
    from sana_wm.progress.run_record import read_elapsed_s
    from sana_wm.video.reader import describe_video

    took = "" if (elapsed_s := read_elapsed_s(run)) is None else f", made in {format_seconds(elapsed_s)}"
    typer.echo(f"{describe_video(video)}{took}", err=True)


def open_in_player(video: Path) -> None:
    """Open a video as the system opens videos, or say that it cannot."""
    if typer.launch(str(video)) != 0:
        typer.echo(printable(f"no program of this system opens {video}"), err=True)


def next_commands(path: Path, manifest: RunManifest) -> list[tuple[str, str]]:
    """What can be done with a finished run, each with its meaning; only commands that this version has."""
    from sana_wm.variants import MODELS

    run = shlex.quote(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))
    middle = manifest.video.num_frames // 2
    offers = [
        (f"report {run}", "the run on one page", True),
        (f"vary {run} --seed {manifest.stage1.seed + 1}", "the same with another seed, prompt, move", True),
        (f"promote {run}", "the same with full effort", not manifest.refiner.enabled),
        (f"branch {run}@{middle} --move pan-left:3s", "another way from a frame on", True),
        (f"extend {run}", "a longer video", MODELS[manifest.model.variant].can_grow),
    ]
    known = {command.name for command in app.registered_commands}
    return [(command, what) for command, what, fits in offers if fits and command.split()[0] in known]


def notify(text: str) -> None:
    """Ring a terminal and let it show a notification (OSC 9: iTerm2, kitty, WezTerm, Ghostty and others)."""
    stream = drawing_stream(sys.stderr)
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        stream.write(f"\a\033]9;{spelled_out(text)}\033\\")
        stream.flush()
