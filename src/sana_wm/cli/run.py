"""`run-pipeline` and `resume`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.manifest import AsJson, ManifestPath
from sana_wm.errors import MemoryCapError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sana_wm.handoff.run_directory import RunDirectory, Stage
    from sana_wm.launcher.decisions import StageDecision
    from sana_wm.manifest.model import RunManifest

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
) -> None:
    """Run a manifest: Stage 1, refiner and VAE decode, each in a process of its own."""
    from sana_wm.handoff.run_directory import RunDirectory
    from sana_wm.launcher.intrinsics import describe_estimate
    from sana_wm.launcher.preflight import check_manifest, list_warnings
    from sana_wm.launcher.run import compare, owning, prepare
    from sana_wm.manifest.loading import load_manifest

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
    manifest = _check_memory(manifest, _decide(run, manifest, None), accept=accept_over_cap)
    _check_numerics(manifest, accept_numerics)
    with owning(run) as lock:
        for path in prepare(run, manifest, force=force):
            typer.echo(f"deleted {path}", err=True)
        _execute(run, manifest, None, lock, as_json=as_json)


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
) -> None:
    """Go on with a run: skip what is done and matches its receipt, run the rest."""
    from sana_wm.handoff.run_directory import STAGES, RunDirectory, stage_named
    from sana_wm.launcher.run import owning

    stage = stage_named(start_from) if start_from is not None else None
    if start_from is not None and stage is None:
        raise UsageError("--from names no stage", got=repr(start_from), expected=", ".join(STAGES))
    run = RunDirectory(run_dir.resolve())
    stored = run.read_manifest()
    asked = {"cap_gib": cap_gib, "budget_gib": budget_gib}
    changes = {name: value for name, value in asked.items() if value is not None}
    manifest = stored.model_copy(update={"memory": stored.memory.model_copy(update=changes)})
    if dry_run:
        _print_decisions(_decide(run, manifest, stage), as_json=as_json)
        return
    checked = _check_memory(manifest, _decide(run, manifest, stage), accept=accept_over_cap)
    _check_numerics(manifest, accept_numerics)
    with owning(run) as lock:
        if checked.memory != stored.memory:
            run.write_manifest(checked)
        _execute(run, checked, stage, lock, as_json=as_json)


def _check_memory(manifest: RunManifest, decisions: Sequence[StageDecision], *, accept: bool) -> RunManifest:
    """Refuse to start a stage that will not fit; on demand warn and plan it as lean as it gets."""
    from sana_wm.cli.plan import plan_here
    from sana_wm.launcher.plan import plan_over_cap, require_fit

    stages: list[Stage] = [one.stage for one in decisions if one.action == "run"]
    plan = plan_here(manifest, stages)
    try:
        require_fit(plan)
    except MemoryCapError as error:
        if not accept:
            raise
        typer.echo(f"warning: {error}", err=True)
        return plan_over_cap(manifest, plan.device)
    return manifest


def _check_numerics(manifest: RunManifest, accepted: list[str] | None) -> None:
    """Refuse to run on an accelerator that computes wrongly."""
    from sana_wm.launcher.numerics_gate import NumericsGate

    gate = NumericsGate.of_this_machine(os.environ, say=lambda words: typer.echo(words, err=True))
    gate.check(manifest.device, accepted or ())


def _decide(run: RunDirectory, manifest: RunManifest, start_from: Stage | None) -> list[StageDecision]:
    from sana_wm.launcher.decisions import decide
    from sana_wm.launcher.preflight import current_weights

    return decide(run, manifest, current_weights(manifest), start_from)


def _execute(run: RunDirectory, manifest: RunManifest, start_from: Stage | None, lock: int, *, as_json: bool) -> None:
    from sana_wm.cli.progress_view import make_view
    from sana_wm.launcher.run import execute

    decisions = _decide(run, manifest, start_from)
    _print_decisions(decisions, as_json=False, to_stderr=True)
    view = make_view(int(manifest.memory.cap_gib * 1024**3))
    with view:
        execute(
            run,
            manifest,
            decisions,
            environment=os.environ,
            view=view,
            start_over=start_from is not None,
            lock=lock,
        )
    if as_json:
        typer.echo(json.dumps({"video": str(run.video_file), "metrics": str(run.metrics_file)}, indent=2))
    else:
        typer.echo(f"video: {run.video_file}")


def _print_decisions(decisions: Sequence[StageDecision], *, as_json: bool, to_stderr: bool = False) -> None:
    if as_json:
        rows = [{"stage": one.stage, "action": one.action, "reason": one.reason} for one in decisions]
        typer.echo(json.dumps(rows, indent=2))
        return
    for one in decisions:
        typer.echo(f"{one.stage:<10} {one.action:<4} {one.reason}", err=to_stderr)
