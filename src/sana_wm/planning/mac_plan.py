"""What a run would take on another Mac: the same plan, with its times as a range of guesses."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from sana_wm.errors import UsageError
from sana_wm.manifest.model import Manifest
from sana_wm.names import Stage
from sana_wm.pipeline import active_stages
from sana_wm.planning.fit import Planners
from sana_wm.planning.forecast import RunForecaster
from sana_wm.planning.macs import Mac
from sana_wm.planning.plan import RunPlan, dtype_of, plan_by, with_ways_out
from sana_wm.planning.times import Times
from sana_wm.weights.empty_checkpoint import write_empty_checkpoint
from sana_wm.weights.facts import published_bytes


@dataclass(frozen=True)
class MacPlan:
    """A run on a Mac of the table.

    Attributes:
        mac: Which.
        slow: The plan at the lowest likely rates.
        fast: The plan at the highest; it differs in its times alone.
        streamed: Phases that read their weights from disk while they work, because they do not fit at once.
    """

    mac: Mac
    slow: RunPlan
    fast: RunPlan
    streamed: tuple[tuple[Stage, str], ...]

    @property
    def fits(self) -> bool:
        """Whether every phase fits its memory."""
        return self.slow.fits

    @property
    def range_s(self) -> tuple[float, float] | None:
        """The least and the most that it may take; `None` when it does not fit."""
        return (self.fast.seconds, self.slow.seconds) if self.fits else None

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        plan = self.slow
        return {
            "mac": self.mac.name,
            "assumed": self.mac.assumed,
            "fits": self.fits,
            "peak_bytes": plan.peak_bytes if self.fits else None,
            "range_s": _rounded(self.range_s),
            "is_measured": False,
            "basis": self.mac.basis,
            "device_bytes": plan.device.memory_bytes,
            "cap_bytes": plan.cap_bytes,
            "weights_bytes": plan.weights_bytes,
            "disk_bytes": plan.disk_bytes,
            "largest_num_frames": plan.largest_num_frames,
            "smallest_cap_gib": plan.smallest_cap_gib,
            "phases": [
                {
                    "stage": slow.stage,
                    "phase": slow.phase,
                    "mode": slow.mode,
                    "used_bytes": slow.used_bytes,
                    "range_s": _rounded(_range_s(fast.seconds, slow.seconds)),
                    "reads_from_disk": (slow.stage, slow.phase) in self.streamed,
                }
                for fast, slow in zip(self.fast.phases, plan.phases, strict=True)
            ],
        }


def plan_on_macs(manifest: Manifest, macs: Sequence[Mac], *, ways_out: bool = False) -> list[MacPlan]:
    """Plan a run on Macs of the table by the released model's sizes; nothing of this machine counts.

    Args:
        manifest: What would run; its weights need not be there.
        macs: Where.
        ways_out: Whether to look for what would make it fit, where it does not.

    Raises:
        UsageError: The manifest does not compute on a Mac's GPU.
    """
    if manifest.device not in ("auto", "mps"):
        raise UsageError(
            "--for answers for a Mac's GPU",
            got=f"device {manifest.device}",
            expected="auto or mps",
            next_step="Change the manifest's device, or plan it without --for.",
        )
    if not macs:
        return []
    stages, model = active_stages(manifest), manifest.model
    weights_bytes = published_bytes(model.variant, model.layout, stages)
    with tempfile.TemporaryDirectory() as folder:
        layout = write_empty_checkpoint(Path(folder), variant=model.variant)
        forecasters = [RunForecaster(manifest, layout, mac.device, stages) for mac in macs]
        # Of one kind of device, whatever its memory: headers are read once, and what fits a budget is sought once.
        planners = {key: cache(planner) for key, planner in forecasters[0].planners().items()}
        return [
            _plan(mac, forecaster, planners, weights_bytes, ways_out=ways_out)
            for mac, forecaster in zip(macs, forecasters, strict=True)
        ]


def _plan(mac: Mac, forecaster: RunForecaster, planners: Planners, weights_bytes: int, *, ways_out: bool) -> MacPlan:
    device, dtype = forecaster.device, dtype_of(forecaster)
    slow, fast = (
        replace(
            plan_by(forecaster, planners, Times((), None, device, dtype, rates)),
            weights_bytes=weights_bytes,
            by_released_sizes=True,
        )
        for rates in (mac.slow, mac.fast)
    )
    fitting = {(phase.stage, phase.phase) for phase in slow.phases if phase.used_bytes is not None}
    streamed = (
        key
        for key, planner in planners.items()
        if key in fitting and planner(forecaster.budget_bytes).plan.get("mode") == "streamed"
    )
    return MacPlan(mac, with_ways_out(slow, forecaster) if ways_out else slow, fast, tuple(streamed))


def _range_s(least_s: float | None, most_s: float | None) -> tuple[float, float] | None:
    return None if least_s is None or most_s is None else (least_s, most_s)


def _rounded(range_s: tuple[float, float] | None) -> list[float] | None:
    return None if range_s is None else [round(seconds, 1) for seconds in range_s]
