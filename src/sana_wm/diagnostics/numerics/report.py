"""What the self-test says: a table for people, JSON for the launcher, an error that names what failed."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import torch

from sana_wm.diagnostics.numerics.check import Measurement, NumericsCheck
from sana_wm.errors import StageFailedError
from sana_wm.machine import name_chip

ID_WIDTH = 28
HEADER = f"{'check':<{ID_WIDTH}} {'error':>9} {'tolerance':>9}  result"


def line_start(check: NumericsCheck) -> str:
    """The part of a line that is written before the check runs: a crash is then known by name."""
    return f"{check.id:<{ID_WIDTH}} "


def line_end(measurement: Measurement) -> str:
    """The rest of the line."""
    verdict = "ok" if measurement.ok else "FAILED" if measurement.check.used else "FAILED, not used by sana-wm"
    raised = f": {measurement.raised}" if measurement.raised else ""
    return f"{measurement.error:9.1e} {measurement.check.tolerance:9.1e}  {verdict}{raised}"


def as_json(device: torch.device, measurements: Sequence[Measurement]) -> dict[str, Any]:
    """The whole self-test.

    Returns:
        `device` (cpu, cuda or mps), its name, the versions, and `checks`; `failed` lists those that stop a run.
    """
    return {
        "device": device.type,
        "device_name": _device_name(device),
        "torch": torch.__version__,
        "system": platform.platform(),
        "seconds": round(sum(measurement.seconds for measurement in measurements), 1),
        "failed": [measurement.check.id for measurement in measurements if measurement.blocks],
        "checks": [measurement.as_json() for measurement in measurements],
    }


def failure(device: torch.device, measurements: Sequence[Measurement]) -> StageFailedError | None:
    """The error for what failed; `None` when nothing that the product relies on did."""
    failed = [measurement for measurement in measurements if measurement.blocks]
    if not failed:
        return None
    lines = [f"this machine's {device.type} computes wrongly: {len(failed)} of {len(measurements)} checks failed"]
    for measurement in failed:
        check = measurement.check
        lines.append(f"  {check.id}: {check.operation}. Known issue: {check.known_issue}. {check.advice}")
    return StageFailedError("\n".join(lines))


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else name_chip() or platform.machine()
