"""`vary`, `promote`, `branch`: new runs made from one that is there."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from sana_wm.cli.app import app
from sana_wm.cli.output import real_path
from sana_wm.cli.run_pipeline import AcceptNumerics, AcceptOverCap, DryRun, JsonLines, JsonLinesTo, run_pipeline
from sana_wm.cli.video_options import VIDEO_OPTIONS, takes_wishes
from sana_wm.drafting.presets import PRESETS
from sana_wm.drafting.wishes import Wishes
from sana_wm.errors import SanaWMError, UsageError, printable

if TYPE_CHECKING:
    from sana_wm.drafting.lineage import Parent

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


@app.command("vary", cls=SeedsAtOnce)
@takes_wishes(without=("seed",))
def vary(
    source: Source,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", min=0, help="Of Stage 1's noise; several make a run each: 1 2 3.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, max=1000, help="So many runs, with the seeds that follow its own.")
    ] = None,
    dry_run: DryRun = False,
    accept_numerics: AcceptNumerics = None,
    accept_over_cap: AcceptOverCap = False,
    json_progress: JsonLines = False,
    json_progress_fd: JsonLinesTo = None,
    *,
    said: Wishes,
) -> None:
    """Make a run again with something other: seeds, prompt, camera, preset. What stays the same is not made again."""
    from sana_wm.drafting.lineage import find_parent
    from sana_wm.drafting.variation import next_seeds, write_variations

    if seed and seeds is not None:
        raise UsageError("--seed and --seeds exclude each other", expected="one of them")
    parent = find_parent(real_path(source))
    chosen = next_seeds(parent, seeds) if seeds is not None else list(dict.fromkeys(seed or ()))
    written, notes = write_variations(parent, "vary", said, os.environ, chosen)
    _run_each(parent, written, notes, dry_run, accept_numerics, accept_over_cap, json_progress, json_progress_fd)


@app.command("promote")
def promote(
    source: Source,
    preset: Annotated[
        str, typer.Option("--preset", help=f"What it becomes: {', '.join(PRESETS)}; standard if left out.")
    ] = "standard",
    out: Annotated[Path | None, VIDEO_OPTIONS["out"].__metadata__[0]] = None,
    dry_run: DryRun = False,
    accept_numerics: AcceptNumerics = None,
    accept_over_cap: AcceptOverCap = False,
    json_progress: JsonLines = False,
    json_progress_fd: JsonLinesTo = None,
) -> None:
    """Make a draft's video in full: the same picture, prompt, camera path, length and seed, by another preset."""
    from sana_wm.drafting.lineage import find_parent
    from sana_wm.drafting.variation import write_variations

    parent = find_parent(real_path(source))
    written, notes = write_variations(parent, "promote", Wishes(preset=preset, out=out), os.environ)
    _run_each(parent, written, notes, dry_run, accept_numerics, accept_over_cap, json_progress, json_progress_fd)


@app.command("branch")
@takes_wishes(without=("intrinsics", "fov_deg", "depth_pro_root"))
def branch(
    place: Annotated[
        str,
        typer.Argument(
            metavar="RUN@FRAME", help="A finished run, and a frame of its video, from 0, or its time: 2.5s."
        ),
    ],
    dry_run: DryRun = False,
    accept_numerics: AcceptNumerics = None,
    accept_over_cap: AcceptOverCap = False,
    json_progress: JsonLines = False,
    json_progress_fd: JsonLinesTo = None,
    *,
    said: Wishes,
) -> None:
    """Go another way from a frame of a run: --move, --action or --poses say where. The lens stays what it was."""
    from sana_wm.drafting.branching import write_branch
    from sana_wm.drafting.lineage import find_parent

    source, at, frame = place.rpartition("@")
    if not at or not source:
        raise UsageError(
            "no frame is named", got=repr(place), expected="RUN@FRAME", next_step="Such as: sana-wm branch runs/mine@40"
        )
    parent = find_parent(real_path(Path(source)))
    written, notes = write_branch(parent, frame, said, os.environ)
    _run_each(parent, [written], notes, dry_run, accept_numerics, accept_over_cap, json_progress, json_progress_fd)


def _run_each(
    parent: Parent,
    manifests: Sequence[Path],
    notes: Sequence[str],
    dry_run: bool,
    accept_numerics: list[str] | None,
    accept_over_cap: bool,
    json_progress: bool,
    json_progress_fd: int | None,
) -> None:
    """Run one manifest after another; where one does not end well, say which were not begun."""
    from sana_wm.drafting.free_names import forget

    for note in notes:
        typer.echo(printable(f"note: {note}"), err=True)
    for number, path in enumerate(manifests, start=1):
        typer.echo(printable(f"{path}, made from {parent.path}"), err=True)
        try:
            run_pipeline(
                path,
                dry_run=dry_run,
                accept_numerics=accept_numerics,
                accept_over_cap=accept_over_cap,
                json_progress=json_progress,
                json_progress_fd=json_progress_fd,
            )
        except SanaWMError:
            for waiting in () if dry_run else manifests[number:]:
                command = f"sana-wm run-pipeline {shlex.quote(str(waiting))}"
                typer.echo(printable(f"{waiting} was not begun: {command}"), err=True)
            raise
        finally:
            if dry_run:
                forget(path)
