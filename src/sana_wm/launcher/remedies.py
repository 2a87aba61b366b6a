"""What a user can change when a stage took more than its cap: a setting or command that would fit."""

from __future__ import annotations

from dataclasses import dataclass

from sana_wm.errors import MemoryCapError, SanaWMError
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.manifest.model import Manifest
from sana_wm.planning.device import Device
from sana_wm.planning.fit import largest_num_frames
from sana_wm.planning.forecast import RunForecaster
from sana_wm.weights.manifest_layout import locate_weights

GIB = 1024**3
#: Distance that a new setting keeps from what was measured.
MARGIN = 0.05


@dataclass(frozen=True)
class Overrun:
    """A stage that was stopped over the cap.

    Attributes:
        phase: What it was doing.
        used_bytes: The most that was measured.
        device: Where, as the stage said; `None` when it had not yet.
    """

    phase: str
    used_bytes: int
    device: Device | None


def remedy(manifest: Manifest, run: RunDirectory, overrun: Overrun) -> str:
    """What would fit, in words.

    The engine had planned to stay below the cap and took more. Either it can plan with less, by at least what it took
    too much, or it has nothing left to make smaller: then only a shorter video or a higher cap helps.
    """
    cap_gib = overrun.used_bytes * (1 + MARGIN) / GIB
    higher = f"sana-wm resume {run.path} --cap-gib {cap_gib:.1f}, if the machine has that much"
    if overrun.device is None:
        return f"Go on with: {higher}."
    try:
        return f"Go on with a smaller working set: {_smaller(manifest, run, overrun)}; or: {higher}."
    except MemoryCapError:
        frames = largest_num_frames(_forecaster(manifest, overrun.device).with_cap_gib(0.9 * manifest.memory.cap_gib))
        shorter = f"a run with video.num_frames {frames} would fit; or: " if frames else ""
        return f"Nothing in this phase can be made smaller; {shorter}{higher}."
    except SanaWMError:  # the weights went away meanwhile: that is not what the user has to hear about here
        return f"Go on with: {higher}."


def _smaller(manifest: Manifest, run: RunDirectory, overrun: Overrun) -> str:
    """The command whose budget is smaller than what was planned, by what was too much.

    Raises:
        MemoryCapError: The phase cannot be planned with so little, or is not one that is planned.
    """
    assert overrun.device is not None
    forecaster = _forecaster(manifest, overrun.device)
    plan = next((plan for _, name, plan in forecaster.planners() if name == overrun.phase), None)
    if plan is None:
        raise MemoryCapError(f"phase {overrun.phase} is not planned")
    planned = plan(forecaster.budget_bytes)
    excess_bytes = overrun.used_bytes - forecaster.cap_bytes
    budget_bytes = int((1 - MARGIN) * (forecaster.budgeted_bytes(planned) - excess_bytes))
    plan(budget_bytes)
    return f"sana-wm resume {run.path} --budget-gib {budget_bytes / GIB:.2f}"


def _forecaster(manifest: Manifest, device: Device) -> RunForecaster:
    return RunForecaster(manifest, locate_weights(manifest), device)
