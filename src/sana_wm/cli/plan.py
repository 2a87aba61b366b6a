"""`plan`: what a run will take, before anything is loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.manifest import WITHOUT_WEIGHTS, AsJson
from sana_wm.errors import MemoryCapError, SanaWMError, UsageError

if TYPE_CHECKING:
    from sana_wm.manifest.model import Manifest
    from sana_wm.planning.plan import RunPlan

CapGib = Annotated[
    float | None, typer.Option("--cap-gib", min=0.1, help="Another memory.cap_gib than the manifest's, in GiB.")
]
WithoutWeights = Annotated[
    bool, typer.Option("--without-weights", help="Go by the released model's sizes; no weights need be there.")
]
MaybeManifestPath = Annotated[
    Path | None, typer.Argument(metavar="[MANIFEST]", help="JSON manifest of the run; with --for it may be left out.")
]
ForMac = Annotated[
    str | None,
    typer.Option("--for", metavar="MAC", help='Another Mac instead of this machine: "M2 Pro 32 GB".'),
]
#: What else the templates name by variables; before anything is set up, a plan needs none of it.
NOT_SET_UP = WITHOUT_WEIGHTS | {"SANA_WM_INPUT_ROOT": "inputs", "SANA_WM_OUTPUT_ROOT": "runs"}


@app.command("plan")
def plan(
    manifest_path: MaybeManifestPath = None,
    for_mac: ForMac = None,
    cap_gib: CapGib = None,
    without_weights: WithoutWeights = False,
    as_json: AsJson = False,
) -> None:
    """Say what a run will take: memory, disk, time. Exit code 5: it does not fit its memory.

    --for asks about another Mac, without its being there and without weights; without a manifest, about every mode.
    """
    changes = {} if cap_gib is None else {"memory.cap_gib": cap_gib}
    if for_mac is not None:
        _plan_for_mac(for_mac, manifest_path, changes, as_json=as_json)
        return
    if manifest_path is None:
        raise UsageError(
            "plan is told neither a manifest nor a Mac", next_step='Name a manifest, or --for "M2 Pro 32 GB".'
        )
    if without_weights:
        planned, refusal = _plan_by_released_sizes(manifest_path, changes), None
    else:
        planned, refusal = _plan_as_found(manifest_path, changes)
    if planned is not None:
        typer.echo(json.dumps(planned.as_json(), indent=2) if as_json else describe_plan(planned))
    if refusal is not None:
        raise refusal
    if planned is not None and not planned.fits:
        raise typer.Exit(MemoryCapError.exit_code)


def _plan_as_found(manifest_path: Path, changes: dict[str, float]) -> tuple[RunPlan | None, SanaWMError | None]:
    """The plan of all stages with the weights that are there, and what else keeps the run from starting."""
    from sana_wm.preflight.prospect import Choices, inspect

    prospect = inspect(manifest_path, os.environ, Choices(plan_all=True, changes=changes))
    try:
        prospect.require()
    except MemoryCapError:
        return prospect.plan, None  # the plan says it
    except SanaWMError as error:
        if prospect.plan is None and manifest_path.is_file():
            typer.echo("Nothing set up yet? Add --without-weights: a plan by the released model's sizes.", err=True)
        return prospect.plan, error
    return prospect.plan, None


def _plan_by_released_sizes(manifest_path: Path, changes: dict[str, float]) -> RunPlan:
    from sana_wm.preflight.prospect import plan_by_released_sizes

    return plan_by_released_sizes(_load_before_set_up(manifest_path, changes), os.environ)


def _load_before_set_up(manifest_path: Path, changes: dict[str, float]) -> Manifest:
    """A manifest whose pictures and weights need not be there."""
    from sana_wm.camera.of_manifest import load_trajectory
    from sana_wm.manifest.loading import load_manifest
    from sana_wm.preflight.prospect import change_fields

    manifest = change_fields(load_manifest(manifest_path, NOT_SET_UP | os.environ), changes)
    if manifest.camera.action is not None:
        load_trajectory(manifest).first(manifest.video.num_frames)
    return manifest


def _plan_for_mac(said: str, manifest_path: Path | None, changes: dict[str, float], *, as_json: bool) -> None:
    from sana_wm.cli.mac_text import describe_mac_plan, describe_modes
    from sana_wm.drafting.modes import plan_modes
    from sana_wm.planning.mac_plan import plan_on_macs
    from sana_wm.planning.macs import find_mac

    mac = find_mac(said)
    if manifest_path is not None:
        [planned] = plan_on_macs(_load_before_set_up(manifest_path, changes), [mac], ways_out=True)
        typer.echo(json.dumps(planned.as_json(), indent=2) if as_json else describe_mac_plan(planned))
        if not planned.fits:
            raise typer.Exit(MemoryCapError.exit_code)
        return
    if changes:
        raise UsageError("--cap-gib changes a manifest, and none is named", next_step="Name a manifest.")
    modes = {mode: plan for mode, [plan] in plan_modes([mac]).items()}
    if as_json:
        rows = [mode.as_json() | plan.as_json() for mode, plan in modes.items()]
        typer.echo(json.dumps({"mac": mac.name, "assumed": mac.assumed, "basis": mac.basis, "modes": rows}, indent=2))
    else:
        typer.echo(describe_modes(mac, modes))


def describe_plan(plan: RunPlan) -> str:
    """The plan as a table and a few lines."""
    from sana_wm.figures import format_seconds
    from sana_wm.pipeline import say_what_each_does
    from sana_wm.planning.device import reserved_bytes
    from sana_wm.planning.plan import what_would_fit
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
    whole = format_seconds(plan.seconds)
    if not plan.is_measured:
        whole = " to ".join(format_seconds(seconds) for seconds in plan.range_s)
    lines += [
        f"({say_what_each_does(dict.fromkeys(phase.stage for phase in plan.phases))})",
        "",
        f"memory  peak {plan.peak_bytes / GIB:.2f} of {limit_bytes / GIB:.1f} GiB"
        if plan.fits
        else f"memory  DOES NOT FIT. {what_would_fit(plan)}",
        f"disk    weights {plan.weights_bytes / GIB:.1f} GiB; the run takes at most {plan.disk_bytes / GIB:.2f} GiB, "
        f"{plan.free_disk_bytes / GIB:.1f} GiB are free",
        *([f"time    {whole} ({source})"] if plan.fits else []),
    ]
    return "\n".join(lines)
