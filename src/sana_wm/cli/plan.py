"""`plan`: what a run will take, before anything is loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.manifest import WITHOUT_WEIGHTS, AsJson, ManifestPath
from sana_wm.errors import IncompleteWeightsError, ManifestError, MemoryCapError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sana_wm.launcher.plan import RunPlan
    from sana_wm.manifest.model import Manifest
    from sana_wm.names import Stage
    from sana_wm.weights.layout import WeightLayout

CapGib = Annotated[
    float | None, typer.Option("--cap-gib", min=0.1, help="Another memory.cap_gib than the manifest's, in GiB.")
]
WithoutWeights = Annotated[
    bool, typer.Option("--without-weights", help="Go by the released model's sizes; no weights need be there.")
]
#: What else the templates name by variables; before anything is set up, a plan needs none of it.
NOT_SET_UP = WITHOUT_WEIGHTS | {"SANA_WM_INPUT_ROOT": "inputs", "SANA_WM_OUTPUT_ROOT": "runs"}


@app.command("plan")
def plan(
    manifest_path: ManifestPath,
    cap_gib: CapGib = None,
    without_weights: WithoutWeights = False,
    as_json: AsJson = False,
) -> None:
    """Say what a run will take: memory, disk, time. Exit code 5: it does not fit its memory."""
    try:
        planned = _plan_file(manifest_path, cap_gib, without_weights=without_weights)
    except (ManifestError, IncompleteWeightsError):
        if not without_weights and manifest_path.is_file():
            typer.echo("Nothing set up yet? Add --without-weights: a plan by the released model's sizes.", err=True)
        raise
    if as_json:
        typer.echo(json.dumps(planned.as_json(), indent=2))
    else:
        typer.echo(describe_plan(planned))
    if not planned.fits:
        raise typer.Exit(MemoryCapError.exit_code)


def _plan_file(manifest_path: Path, cap_gib: float | None, *, without_weights: bool) -> RunPlan:
    from sana_wm.handoff.camera_path import load_trajectory
    from sana_wm.manifest.loading import load_manifest

    manifest = load_manifest(manifest_path, (NOT_SET_UP if without_weights else {}) | os.environ)
    if manifest.camera.action is not None:
        load_trajectory(manifest).first(manifest.video.num_frames)
    if cap_gib is not None:
        memory = manifest.memory.model_copy(update={"cap_gib": cap_gib})
        manifest = manifest.model_copy(update={"memory": memory})
    return plan_by_released_sizes(manifest) if without_weights else plan_here(manifest)


def plan_here(manifest: Manifest, stages: Sequence[Stage] | None = None, layout: WeightLayout | None = None) -> RunPlan:
    """The plan of a manifest's stages, all of them when left out, on this machine; by these weights if given."""
    from sana_wm.launcher.history import History
    from sana_wm.launcher.plan import plan_run
    from sana_wm.launcher.preflight import active_stages
    from sana_wm.launcher.process import find_device
    from sana_wm.weights.check import check_layout
    from sana_wm.weights.manifest_layout import locate_weights

    stages = active_stages(manifest) if stages is None else stages
    layout = layout or locate_weights(manifest)
    if problems := check_layout(layout, stages):
        raise IncompleteWeightsError(problems)
    return plan_run(manifest, stages, find_device(manifest.device), History.of_this_user(os.environ), layout)


def plan_by_released_sizes(manifest: Manifest) -> RunPlan:
    """The plan of a manifest on this machine, as if the released weights were there."""
    import tempfile
    from dataclasses import replace

    from sana_wm.launcher.preflight import active_stages
    from sana_wm.weights.facts import model_facts
    from sana_wm.weights.hollow import write_hollow_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        planned = plan_here(manifest, layout=write_hollow_checkpoint(Path(folder)))
    published_bytes = sum(
        file.approximate_bytes
        for repository in model_facts().layouts[manifest.model.layout]
        for file in repository.needed_files(active_stages(manifest))
    )
    return replace(planned, weights_bytes=published_bytes, by_released_sizes=True)


def describe_plan(plan: RunPlan) -> str:
    """The plan as a table and a few lines."""
    from sana_wm.cli.figures import format_seconds
    from sana_wm.launcher.plan import what_would_fit
    from sana_wm.planning.device import reserved_bytes
    from sana_wm.sizes import GIB

    device = plan.device
    limit_bytes = min(plan.cap_bytes, device.memory_bytes)
    process_bytes = reserved_bytes(device.kind)
    process = f", and {process_bytes / GIB:.1f} GiB is for the process" if process_bytes else ""
    lines = [
        *(["by the released model's sizes; no weights were looked at"] if plan.by_released_sizes else []),
        f"{device.name} ({device.kind}), {device.memory_bytes / GIB:.1f} GiB for the device; "
        f"cap {plan.cap_bytes / GIB:.1f} GiB; {plan.dtype}",
        f"engines plan with {plan.budget_bytes / GIB:.1f} GiB{process}; peaks are of all of it",
        "",
        f"{'stage':<11}{'phase':<14}{'peak':>10}  {'time':>11}  how",
    ]
    for phase in plan.phases:
        peak = "too much" if phase.used_bytes is None else f"{phase.used_bytes / GIB:.2f} GiB"
        guess = "" if phase.measured or phase.seconds is None else "~"
        time = "" if phase.seconds is None else f"{guess}{format_seconds(phase.seconds)}"
        peak = peak if phase.used_bytes != 0 else ""
        lines.append(f"{phase.stage:<11}{phase.phase:<14}{peak:>10}  {time:>11}  {phase.mode}")
    source = "from this machine's own runs" if plan.is_measured else "~ is a guess: nothing like it ran here yet"
    lines += [
        "",
        f"memory  peak {plan.peak_bytes / GIB:.2f} of {limit_bytes / GIB:.1f} GiB"
        if plan.fits
        else f"memory  DOES NOT FIT. {what_would_fit(plan)}",
        f"disk    weights {plan.weights_bytes / GIB:.1f} GiB; the run takes at most {plan.disk_bytes / GIB:.2f} GiB, "
        f"{plan.free_disk_bytes / GIB:.1f} GiB are free",
        *([f"time    {format_seconds(plan.seconds)} ({source})"] if plan.fits else []),
    ]
    return "\n".join(lines)
