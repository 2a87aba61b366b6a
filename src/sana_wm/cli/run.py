"""`run-pipeline` and `resume`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.manifest import AsJson, ManifestPath
from sana_wm.errors import MemoryCapError, UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sana_wm.cli.progress_json import JsonProgress
    from sana_wm.handoff.run_directory import RunDirectory
    from sana_wm.launcher.decisions import StageDecision
    from sana_wm.launcher.plan import RunPlan
    from sana_wm.manifest.run_manifest import RunManifest
    from sana_wm.names import Stage

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say which stages would run and why, then stop.")]
StartFrom = Annotated[
    str | None, typer.Option("--from", metavar="STAGE", help="Run this stage and all after it, whatever is there.")
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
    force: Annotated[
        bool, typer.Option("--force", help="Take over a run directory of another manifest; says what it deletes.")
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
    """Run a manifest. Stage 1, refiner and VAE decode each have a process of their own."""
    from sana_wm.handoff.run_directory import RunDirectory
    from sana_wm.launcher.intrinsics import describe_estimate
    from sana_wm.launcher.lock import owning
    from sana_wm.launcher.preflight import check_manifest, list_warnings
    from sana_wm.launcher.prepare import compare, prepare
    from sana_wm.manifest.loading import load_manifest

    lines = _open_json_progress(json_progress, json_progress_fd, as_json=as_json)
    parsed = load_manifest(manifest_path, os.environ)
    if frames_dir is not None:
        video = parsed.video.model_copy(update={"frames_dir": str(frames_dir.absolute())})
        parsed = parsed.model_copy(update={"video": video})
    manifest = check_manifest(parsed)
    for warning in list_warnings(manifest):
        typer.echo(f"warning: {warning}", err=True)
    if manifest.intrinsics_estimate is not None:
        typer.echo(f"intrinsics: {describe_estimate(manifest.intrinsics_estimate)}", err=True)
    run = RunDirectory(Path(manifest.output_dir))
    starting_over = compare(run, manifest, force=force)
    if dry_run:
        for stage in starting_over:
            typer.echo(f"--force would delete what {stage} left", err=True)
        _print_decisions(_decide(run, manifest, None), as_json=as_json)
        return
    manifest, plan = _check_memory(run, manifest, _decide(run, manifest, None), accept=accept_over_cap)
    _check_numerics(manifest, accept_numerics)
    with owning(run) as lock:
        for path in prepare(run, manifest, force=force):
            typer.echo(printable(f"deleted {path}"), err=True)
        _execute(run, manifest, None, plan, lock, lines)
    _tell_result(run, lines, as_json=as_json)


@app.command("resume")
def resume(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A directory that run-pipeline made.")],
    start_from: StartFrom = None,
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
    from sana_wm.handoff.run_directory import RunDirectory
    from sana_wm.launcher.decisions import stages_to_run
    from sana_wm.launcher.lock import owning
    from sana_wm.launcher.prepare import check_receipts, check_unchanged
    from sana_wm.launcher.run import check_start
    from sana_wm.names import STAGES, stage_named

    lines = _open_json_progress(json_progress, json_progress_fd, as_json=as_json)
    stage = stage_named(start_from) if start_from is not None else None
    if start_from is not None and stage is None:
        raise UsageError("--from names no stage", got=repr(start_from), expected=", ".join(STAGES))
    run = RunDirectory(run_dir.resolve())
    stored = run.read_manifest()
    asked = {"cap_gib": cap_gib, "budget_gib": budget_gib}
    changes = {name: value for name, value in asked.items() if value is not None}
    manifest = stored.model_copy(update={"memory": stored.memory.model_copy(update=changes)})
    check_receipts(run, stored)
    decisions = _decide(run, manifest, stage)
    if dry_run:
        _print_decisions(decisions, as_json=as_json)
    if stages := stages_to_run(decisions):
        check_start(run, manifest, stages)
    if dry_run:
        return
    checked, plan = _check_memory(run, manifest, decisions, accept=accept_over_cap)
    _check_numerics(manifest, accept_numerics)
    with owning(run) as lock:
        check_unchanged(run, stored)
        if checked.memory != stored.memory:
            run.write_manifest(checked)
        _execute(run, checked, stage, plan, lock, lines)
    _tell_result(run, lines, as_json=as_json)


def _check_memory(
    run: RunDirectory, manifest: RunManifest, decisions: Sequence[StageDecision], *, accept: bool
) -> tuple[RunManifest, RunPlan]:
    """Refuse to start a stage that will not fit; on demand warn and plan it as lean as it gets.

    Returns:
        The manifest that runs, and its plan.
    """
    from sana_wm.cli.plan import plan_here
    from sana_wm.launcher.decisions import stages_to_run
    from sana_wm.launcher.plan import plan_over_cap, require_fit

    stages = stages_to_run(decisions)
    plan = plan_here(manifest, stages, run=run)
    try:
        require_fit(plan)
    except MemoryCapError as error:
        if not accept:
            raise
        typer.echo(f"warning: {error.what}; it is tried all the same, with the least that can be planned", err=True)
        lean = plan_over_cap(manifest, stages, plan.device)
        return lean, plan_here(lean, stages, run=run)
    return manifest, plan


def _check_numerics(manifest: RunManifest, accepted: list[str] | None) -> None:
    """Refuse to run on an accelerator that computes wrongly."""
    from sana_wm.launcher.numerics_gate import NumericsGate

    gate = NumericsGate.of_this_machine(os.environ, say=lambda words: typer.echo(words, err=True))
    gate.check(manifest.device, accepted or ())


def _decide(run: RunDirectory, manifest: RunManifest, start_from: Stage | None) -> list[StageDecision]:
    from sana_wm.launcher.decisions import decide
    from sana_wm.launcher.preflight import current_weights

    return decide(run, manifest, current_weights(manifest), start_from)


def _open_json_progress(wanted: bool, descriptor: int | None, *, as_json: bool) -> JsonProgress | None:
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


def _execute(
    run: RunDirectory,
    manifest: RunManifest,
    start_from: Stage | None,
    plan: RunPlan,
    lock: int,
    lines: JsonProgress | None,
) -> None:
    from sana_wm.cli.progress_view import make_view
    from sana_wm.launcher.run import execute
    from sana_wm.launcher.run_progress import RunProgress
    from sana_wm.launcher.run_record import RunStart

    decisions = _decide(run, manifest, start_from)
    _print_decisions(decisions, as_json=False, to_stderr=True)
    start = RunStart.of(decisions, plan.expected_s, time.time(), plan.guessed)
    view = make_view(sys.stderr)
    progress = RunProgress(run, manifest, start, [view, lines] if lines else [view])
    with view, progress.reporting():
        execute(
            run,
            manifest,
            decisions,
            environment=os.environ,
            view=progress,
            start_from=start_from,
            lock=lock,
            say=lambda line: view.say(printable(line)),
        )


def _tell_result(run: RunDirectory, lines: JsonProgress | None, *, as_json: bool) -> None:
    """Say where the video is; the directory is not owned any more, because a terminal may let it wait."""
    if as_json:
        typer.echo(json.dumps({"video": str(run.video_file), "metrics": str(run.metrics_file)}, indent=2))
    elif lines is None or not lines.on_standard_output:
        typer.echo(printable(f"video: {run.video_file}"))


def _print_decisions(decisions: Sequence[StageDecision], *, as_json: bool, to_stderr: bool = False) -> None:
    if as_json:
        rows = [{"stage": one.stage, "action": one.action, "reason": one.reason} for one in decisions]
        typer.echo(json.dumps(rows, indent=2))
        return
    for one in decisions:
        typer.echo(printable(f"{one.stage:<10} {one.action:<4} {one.reason}"), err=to_stderr)
