"""`plan`: what a run will take, before anything is loaded."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.manifest import AsJson, ManifestPath
from sana_wm.errors import MemoryCapError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sana_wm.handoff.run_directory import Stage
    from sana_wm.launcher.plan import RunPlan
    from sana_wm.manifest.model import Manifest

CapGib = Annotated[
    float | None, typer.Option("--cap-gib", min=0.1, help="Another memory.cap_gib than the manifest's, in GiB.")
]


@app.command("plan")
def plan(manifest_path: ManifestPath, cap_gib: CapGib = None, as_json: AsJson = False) -> None:
    """Say what a run will take: memory of every phase, disk, time. Exit code 5: it does not fit its memory."""
    from sana_wm.manifest.loading import load_manifest

    manifest = load_manifest(manifest_path, os.environ)
    if cap_gib is not None:
        memory = manifest.memory.model_copy(update={"cap_gib": cap_gib})
        manifest = manifest.model_copy(update={"memory": memory})
    planned = plan_here(manifest)
    if as_json:
        typer.echo(json.dumps(planned.as_json(), indent=2))
    else:
        typer.echo(describe_plan(planned))
    if not planned.fits:
        raise typer.Exit(MemoryCapError.exit_code)


def plan_here(manifest: Manifest, stages: Sequence[Stage] | None = None) -> RunPlan:
    """The plan of a manifest's stages, all of them when left out, on this machine."""
    from sana_wm.errors import IncompleteWeightsError
    from sana_wm.launcher.history import History
    from sana_wm.launcher.plan import plan_run
    from sana_wm.launcher.preflight import active_stages
    from sana_wm.launcher.process import find_device
    from sana_wm.weights.check import check_layout
    from sana_wm.weights.manifest_layout import locate_weights

    stages = active_stages(manifest) if stages is None else stages
    if problems := check_layout(locate_weights(manifest), stages):
        raise IncompleteWeightsError(problems)
    return plan_run(manifest, stages, find_device(manifest.device), History.of_this_user(os.environ))


def describe_plan(plan: RunPlan) -> str:
    """The plan as a table and a few lines."""
    from sana_wm.cli.progress_view import format_seconds
    from sana_wm.launcher.plan import GIB, what_would_fit

    device = plan.device
    lines = [
        f"{device.name} ({device.kind}), {device.memory_bytes / GIB:.1f} GiB for the device; "
        f"cap {plan.cap_bytes / GIB:.1f} GiB, engines plan with {plan.budget_bytes / GIB:.1f} GiB",
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
        f"memory  peak {plan.peak_bytes / GIB:.2f} of {plan.cap_bytes / GIB:.1f} GiB"
        if plan.fits
        else f"memory  DOES NOT FIT. {what_would_fit(plan)}",
        f"disk    weights {plan.weights_bytes / GIB:.1f} GiB; the run takes at most {plan.disk_bytes / GIB:.2f} GiB, "
        f"{plan.free_disk_bytes / GIB:.1f} GiB are free",
        f"time    {format_seconds(plan.seconds)} ({source})",
    ]
    return "\n".join(lines)
