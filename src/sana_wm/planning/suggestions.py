"""What a user can change when a stage took more than its cap: a setting or command that would fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sana_wm.errors import MemoryCapError, SanaWMError
from sana_wm.manifest.model import Manifest
from sana_wm.names import Stage
from sana_wm.pipeline import stages_after
from sana_wm.planning.device import Device
from sana_wm.planning.fit import forecast_phases, largest_num_frames
from sana_wm.planning.forecast import RunForecaster
from sana_wm.planning.shares import FORECAST_ERROR, SHORTER_SHARE
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.sizes import GIB
from sana_wm.weights.manifest_layout import locate_weights


@dataclass(frozen=True)
class Overrun:
    """A stage that was stopped over the cap.

    Attributes:
        stage: Which it was.
        phase: What it was doing.
        used_bytes: The most that was measured.
        device: Where, as the stage said; `None` when it had not yet.
    """

    stage: Stage
    phase: str
    used_bytes: int
    device: Device | None


def suggest_change(manifest: Manifest, run: RunDirectory, overrun: Overrun) -> str:
    """What would fit, in words.

    The engine had planned to stay below the cap and took more. Either it can plan with less, by at least what it took
    too much, or it has nothing left to make smaller: then only a shorter video or a higher cap helps.
    """
    cap_gib = overrun.used_bytes * (1 + FORECAST_ERROR) / GIB
    higher = f"{run.resume_command} --cap-gib {cap_gib:.1f}, if the machine has that much"
    if overrun.device is None:
        return f"Go on with: {higher}."
    to_come = (overrun.stage, *stages_after(overrun.stage))
    try:
        forecaster = RunForecaster(manifest, locate_weights(manifest), overrun.device, to_come)
        if (budget_gib := _smaller_budget_gib(forecaster, overrun)) is not None:
            smaller = f"{run.resume_command} --budget-gib {budget_gib:.2f}"
            return f"Go on with a smaller working set: {smaller}; or: {higher}."
        frames = largest_num_frames(forecaster.with_cap_gib(SHORTER_SHARE * forecaster.cap_bytes / GIB))
    except SanaWMError:  # the weights went away meanwhile: that is not what the user has to hear about here
        return f"Go on with: {higher}."
    shorter = f"a run with video.num_frames {frames} would fit; or: " if frames else ""
    return f"Nothing in this phase can be made smaller; {shorter}{higher}."


def _smaller_budget_gib(forecaster: RunForecaster, overrun: Overrun) -> float | None:
    """A budget smaller than what the phase had planned, by what was too much.

    Returns:
        GiB; `None` if this phase, or one that comes after it under the same budget, cannot be planned with so little.
    """
    planners = forecaster.planners()
    plan = planners.get((overrun.stage, overrun.phase))
    if plan is None:
        return None
    excess_bytes = overrun.used_bytes - forecaster.cap_bytes
    planned_bytes = forecaster.budgeted_bytes(plan(forecaster.budget_bytes))
    # Rounded down, as it will be read back.
    budget_gib = math.floor(100 * (1 - FORECAST_ERROR) * (planned_bytes - excess_bytes) / GIB) / 100
    try:
        forecast_phases(forecaster.with_budget_gib(budget_gib), planners)
    except MemoryCapError:
        return None
    return budget_gib
