"""`run-pipeline` and `resume`, and what `refine` shares with them."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli import completion
from sana_wm.cli.app import app
from sana_wm.cli.manifest import AsJson, ManifestPath, tell_remarks
from sana_wm.cli.surroundings import outlive_the_output
from sana_wm.errors import UsageError, did_you_mean, printable
from sana_wm.pipeline import say_what_each_does

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sana_wm.cli.progress_json import JsonProgress
    from sana_wm.names import Stage
    from sana_wm.preflight.prospect import Prospect
    from sana_wm.runs.decisions import StageDecision
    from sana_wm.runs.run_directory import RunDirectory

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say which stages would run and why, then stop.")]
StartFrom = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="STAGE",
        autocompletion=completion.stages,
        help="Run this stage and all made from its result, whatever is there.",
    ),
]
StopAfter = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="STAGE",
        autocompletion=completion.stages,
        help=f"Stop after this stage; the run can go on from there: {say_what_each_does()}.",
    ),
]
AcceptNumerics = Annotated[
    list[str] | None,
    typer.Option("--accept-numerics", metavar="RULE", help="Run although this numerics check fails; may be repeated."),
]
AcceptOverCap = Annotated[
    bool, typer.Option("--accept-over-cap", help="Run although the plan does not fit the memory cap.")
]
JsonLines = Annotated[
    bool, typer.Option("--json-progress", help="Progress as one JSON object a line on standard output.")
]
JsonLinesTo = Annotated[
    int | None, typer.Option("--json-progress-fd", metavar="FD", help="The same, on this open file descriptor.")
]


@app.command("run-pipeline")
def run_pipeline(
    manifest_path: ManifestPath,
    dry_run: DryRun = False,
    stop_after: StopAfter = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what another manifest left in the run directory; says what.")
    ] = False,
    frames_dir: Annotated[
        Path | None, typer.Option("--frames-dir", help="Write the frames as PNG, too; goes into video.frames_dir.")
    ] = None,
    accept_numerics: AcceptNumerics = None,
    accept_over_cap: AcceptOverCap = False,
    as_json: AsJson = False,
    json_progress: JsonLines = False,
    json_progress_fd: JsonLinesTo = None,
) -> None:
    """Run a manifest. Stage 1, preview, refiner and VAE decode each have a process of their own."""
    from sana_wm.preflight.prospect import Choices, inspect

    outlive_the_output()
    lines = open_json_progress(json_progress, json_progress_fd, as_json=as_json)
    changes = {} if frames_dir is None else {"video.frames_dir": str(frames_dir.absolute())}
    choices = Choices(
        stop_after=stage_asked("--to", stop_after),
        force=force,
        accept_over_cap=accept_over_cap,
        accept_numerics=tuple(accept_numerics or ()),
        changes=changes,
    )
    prospect = inspect(manifest_path, os.environ, choices)
    carry_out(prospect, lines, dry_run=dry_run, as_json=as_json)


@app.command("resume")
def resume(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A directory that run-pipeline made.")],
    start_from: StartFrom = None,
    stop_after: StopAfter = None,
    dry_run: DryRun = False,
    cap_gib: Annotated[
        float | None, typer.Option("--cap-gib", min=0.1, help="From now on this memory.cap_gib, in GiB.")
    ] = None,
    budget_gib: Annotated[
        float | None, typer.Option("--budget-gib", min=0.1, help="From now on this memory.budget_gib, in GiB.")
    ] = None,
    accept_numerics: AcceptNumerics = None,
    accept_over_cap: AcceptOverCap = False,
    as_json: AsJson = False,
    json_progress: JsonLines = False,
    json_progress_fd: JsonLinesTo = None,
) -> None:
    """Go on with a run where it stopped. What is done and matches its receipt is skipped."""
    from sana_wm.cli.output import real_path
    from sana_wm.preflight.prospect import Choices, inspect_run
    from sana_wm.runs.run_directory import RunDirectory

    outlive_the_output()
    lines = open_json_progress(json_progress, json_progress_fd, as_json=as_json)
    asked = {"memory.cap_gib": cap_gib, "memory.budget_gib": budget_gib}
    choices = Choices(
        start_from=stage_asked("--from", start_from),
        stop_after=stage_asked("--to", stop_after),
        accept_over_cap=accept_over_cap,
        accept_numerics=tuple(accept_numerics or ()),
        changes={name: value for name, value in asked.items() if value is not None},
    )
    prospect = inspect_run(RunDirectory(real_path(run_dir)), os.environ, choices)
    carry_out(prospect, lines, dry_run=dry_run, as_json=as_json)


def stage_asked(option: str, name: str | None) -> Stage | None:
    """The stage that an option names, if it was given.

    Raises:
        UsageError: It names none.
    """
    from sana_wm.names import STAGES, stage_named

    stage = stage_named(name) if name is not None else None
    if name is not None and stage is None:
        raise UsageError(
            f"{option} names no stage",
            got=repr(name),
            expected=", ".join(STAGES),
            next_step=did_you_mean(name, STAGES),
        )
    return stage


def carry_out(prospect: Prospect, lines: JsonProgress | None, *, dry_run: bool, as_json: bool) -> RunDirectory | None:
    """Start what was looked at, or say what would happen; returns the directory of what ran to its end."""
    from sana_wm.cli.progress_view import make_view
    from sana_wm.launcher.start import Audience, start
    from sana_wm.runs.decisions import stages_to_come

    tell_remarks(prospect)
    if dry_run:
        for stage in prospect.starting_over:
            typer.echo(f"--force would delete what {stage} left", err=True)
        if prospect.decisions:
            _print_decisions(prospect.decisions, as_json=as_json)
    run, _, _ = prospect.require()
    if dry_run:
        return None
    view = make_view(sys.stderr)
    audience = Audience(
        listeners=[view, lines] if lines else [view],
        say=view.say,
        decided=lambda decisions: _print_decisions(decisions, as_json=False, to_stderr=True),
        showing=view,
    )
    start(prospect, os.environ, audience)
    if (last := prospect.choices.stop_after) is not None and stages_to_come(prospect.decisions):
        decision = next(one for one in prospect.decisions if one.stage == last)
        _tell_stop(run, decision, lines, as_json=as_json)
        return None
    _tell_result(run, lines, as_json=as_json)
    return run


def open_json_progress(wanted: bool, descriptor: int | None, *, as_json: bool) -> JsonProgress | None:
    """What tells programs of the progress, if they asked for it.

    Raises:
        UsageError: Two things would write to standard output.
    """
    from sana_wm.cli.progress_json import STANDARD_OUTPUT, JsonProgress

    if descriptor is None and not wanted:
        return None
    target = STANDARD_OUTPUT if descriptor is None else descriptor
    if as_json and target == STANDARD_OUTPUT:
        raise UsageError(
            "--json and --json-progress both write to standard output",
            next_step="Leave --json out (the last line of --json-progress says the same), or add --json-progress-fd.",
        )
    return JsonProgress(target)


def _tell_result(run: RunDirectory, lines: JsonProgress | None, *, as_json: bool) -> None:
    """Say where the video is; the directory is not owned any more, because a terminal may let it wait."""
    if as_json:
        typer.echo(json.dumps({"video": str(run.video_file), "metrics": str(run.metrics_file)}, indent=2))
    elif lines is None or not lines.on_standard_output:
        typer.echo(printable(f"video: {run.video_file}"))


def _tell_stop(run: RunDirectory, decision: StageDecision, lines: JsonProgress | None, *, as_json: bool) -> None:
    """Say what a run that was asked to stop after a stage has left, or why nothing, and what goes on with it."""
    from sana_wm.pipeline import PIPELINE

    last = decision.stage
    verb = "refine" if PIPELINE[last].looked_at_before is not None else "resume"
    go_on = f"sana-wm {verb} {shlex.quote(str(run.path))}"
    outputs = [str(path) for path in run.outputs(last) if path.is_file()]
    if as_json:
        told = {"video": None, "metrics": None, "stopped_after": last, "outputs": outputs, "next": go_on}
        typer.echo(json.dumps(told, indent=2))
    elif lines is None or not lines.on_standard_output:
        for path in outputs:
            typer.echo(printable(f"{last}: {path}"))
        if decision.action == "off":
            typer.echo(printable(f"{last} was not made: {decision.reason}"))
        typer.echo(printable(f"stopped after {last}, as asked; go on with: {go_on}"))


def _print_decisions(decisions: Sequence[StageDecision], *, as_json: bool, to_stderr: bool = False) -> None:
    if as_json:
        rows = [{"stage": one.stage, "action": one.action, "reason": one.reason} for one in decisions]
        typer.echo(json.dumps(rows, indent=2))
        return
    width = max(4, *(len(one.action) for one in decisions))
    for one in decisions:
        typer.echo(printable(f"{one.stage:<10} {one.action:<{width}} {one.reason}"), err=to_stderr)
