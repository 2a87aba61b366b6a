"""`vary`, `promote`, `branch`: new runs made from one that is there."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from sana_wm.cli import completion
from sana_wm.cli.app import app
from sana_wm.cli.colours import say_aside
from sana_wm.cli.finish import finish
from sana_wm.cli.output import real_path
from sana_wm.cli.queue import ToQueue, queue_new_runs, refuse_beside_queue
from sana_wm.cli.run import Open
from sana_wm.cli.run_pipeline import (
    AcceptNumerics,
    AcceptOverCap,
    DryRun,
    JsonLines,
    JsonLinesTo,
    carry_out,
    open_json_progress,
)
from sana_wm.cli.surroundings import outlive_the_output
from sana_wm.cli.video_options import takes_video_request
from sana_wm.drafting.request import VideoRequest
from sana_wm.errors import SanaWMError, UsageError, printable

if TYPE_CHECKING:
    from sana_wm.cli.progress_json import JsonProgress
    from sana_wm.drafting.new_run import NewRun
    from sana_wm.preflight.prospect import Choices

Source = Annotated[Path, typer.Argument(metavar="RUN|VIDEO", help="A run directory, or a video of one.")]


class SeedsAtOnce(TyperCommand):
    """A command whose `--seed` takes several numbers: `--seed 1 2 3`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give every number behind `--seed` a `--seed` of its own."""
        spelled: list[str] = []
        within = False
        for argument in args:
            if within and argument.isdecimal() and spelled[-1] != "--seed":
                spelled.append("--seed")
            within = argument == "--seed" or (within and argument.isdecimal())
            spelled.append(argument)
        return super().parse_args(ctx, spelled)


@dataclass(frozen=True)
class _Wanted:
    """What becomes of the new runs: as the options of that name."""

    open_video: bool
    to_queue: bool
    dry_run: bool
    accept_numerics: list[str] | None
    accept_over_cap: bool
    json_progress: bool
    json_progress_fd: int | None

    def __post_init__(self) -> None:
        if self.to_queue:
            progress = self.json_progress or self.json_progress_fd
            refuse_beside_queue(open=self.open_video, dry_run=self.dry_run, json_progress=progress)


@app.command("vary", cls=SeedsAtOnce, epilog="For example: sana-wm vary runs/room --seed 1 2 3 --prompt 'At night.'")
@takes_video_request(without=("seed",))
def vary(
    source: Source,
    *,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", min=0, help="Of Stage 1's noise; several make a run each: 1 2 3.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, max=1000, help="So many runs, with the seeds that follow its own.")
    ] = None,
    open_video: Open = False,
    to_queue: ToQueue = False,
    dry_run: DryRun = False,
    accept_numerics: AcceptNumerics = None,
    accept_over_cap: AcceptOverCap = False,
    json_progress: JsonLines = False,
    json_progress_fd: JsonLinesTo = None,
    said: VideoRequest,
) -> None:
    """Make a run again with something other: seeds, prompt, camera, preset. What stays the same is not made again."""
    from sana_wm.drafting.lineage import find_parent
    from sana_wm.drafting.variation import next_seeds, write_variations

    wanted = _Wanted(open_video, to_queue, dry_run, accept_numerics, accept_over_cap, json_progress, json_progress_fd)
    if seed and seeds is not None:
        raise UsageError("--seed and --seeds exclude each other", expected="one of them")
    parent = find_parent(real_path(source))
    chosen = next_seeds(parent, seeds) if seeds is not None else list(dict.fromkeys(seed or ()))
    _go(write_variations(parent, "vary", said, os.environ, chosen), wanted)


@app.command("promote", epilog="For example: sana-wm promote runs/room --preset author-defaults")
def promote(
    source: Source,
    *,
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            autocompletion=completion.presets,
            help="What it becomes: fast, standard (if left out), author-defaults.",
        ),
    ] = "standard",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run directory; beside the draft's if left out.")
    ] = None,
    open_video: Open = False,
    to_queue: ToQueue = False,
    dry_run: DryRun = False,
    accept_numerics: AcceptNumerics = None,
    accept_over_cap: AcceptOverCap = False,
    json_progress: JsonLines = False,
    json_progress_fd: JsonLinesTo = None,
) -> None:
    """Make a draft's video in full: the same picture, prompt, camera path, length and seed, by another preset."""
    from sana_wm.drafting.lineage import find_parent
    from sana_wm.drafting.variation import write_variations

    wanted = _Wanted(open_video, to_queue, dry_run, accept_numerics, accept_over_cap, json_progress, json_progress_fd)
    parent = find_parent(real_path(source))
    _go(write_variations(parent, "promote", VideoRequest(preset=preset, out=out), os.environ), wanted)


@app.command("branch", epilog="For example: sana-wm branch runs/room@40 --move pan-left:3s")
@takes_video_request(without=("intrinsics", "fov_deg", "depth_pro_root"))
def branch(
    place: Annotated[
        str,
        typer.Argument(
            metavar="RUN@FRAME", help="A finished run, and a frame of its video, from 0, or its time: 2.5s."
        ),
    ],
    *,
    open_video: Open = False,
    to_queue: ToQueue = False,
    dry_run: DryRun = False,
    accept_numerics: AcceptNumerics = None,
    accept_over_cap: AcceptOverCap = False,
    json_progress: JsonLines = False,
    json_progress_fd: JsonLinesTo = None,
    said: VideoRequest,
) -> None:
    """Go another way from a frame of a run: --move, --action or --poses say where. The lens stays what it was."""
    from sana_wm.drafting.branching import write_branch
    from sana_wm.drafting.lineage import find_parent

    wanted = _Wanted(open_video, to_queue, dry_run, accept_numerics, accept_over_cap, json_progress, json_progress_fd)
    source, at, frame = place.rpartition("@")
    if not at or not source:
        raise UsageError(
            "no frame is named", got=repr(place), expected="RUN@FRAME", next_step="Such as: sana-wm branch runs/mine@40"
        )
    _go([write_branch(find_parent(real_path(Path(source))), frame, said, os.environ)], wanted)


def _go(new: Sequence[NewRun], wanted: _Wanted) -> None:
    """Run one after another; what did not begin leaves its name free."""
    from sana_wm.preflight.prospect import Choices

    choices = Choices(accept_over_cap=wanted.accept_over_cap, accept_numerics=tuple(wanted.accept_numerics or ()))
    for note in dict.fromkeys(note for one in new for note in one.notes):
        say_aside("note", printable(note))
    outlive_the_output()
    if wanted.to_queue:
        queue_new_runs(new, choices)
        return
    lines = open_json_progress(wanted.json_progress, wanted.json_progress_fd, as_json=False)
    for number, one in enumerate(new):
        try:
            _run(one, choices, lines, wanted)
        except SanaWMError:
            _leave(new[number + 1 :], begun=one.path.exists())
            raise
        finally:
            one.discard_unstarted()


def _run(one: NewRun, choices: Choices, lines: JsonProgress | None, wanted: _Wanted) -> None:
    from sana_wm.preflight.prospect import inspect

    prospect = inspect(one.manifest_path, os.environ, choices)
    typer.echo(printable(f"run: {one.path}"), err=True)
    done = carry_out(prospect, lines, dry_run=wanted.dry_run, as_json=False)
    if done is not None:
        finish(done, open_it=wanted.open_video)


def _leave(new: Sequence[NewRun], *, begun: bool) -> None:
    """Say how those are begun that wait behind one that failed; behind one that was refused, forget them."""
    for one in new:
        if begun:
            command = f"sana-wm run-pipeline {shlex.quote(str(one.manifest_path))}"
            typer.echo(printable(f"{one.path} was not begun: {command}"), err=True)
        else:
            one.discard_unstarted()
