"""What NVIDIA's own code is said to need, against the MPS check's count of every live byte at full size."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from sana_wm.errors import MemoryCapError
from sana_wm.names import Stage
from sana_wm.planning.device import Device
from sana_wm.planning.forecast import RunForecaster
from sana_wm.planning.phase import PhaseForecast

GIB = 1024**3
REPORT = Path(__file__).resolve().parents[2] / "reports" / "pr379" / "mps-lint.json"
PEAKS = {report["target"]: report["peak_bytes"] for report in json.loads(REPORT.read_text())}


def forecast(run: RunForecaster, stage: Stage, budget_bytes: int) -> PhaseForecast:
    model = run.manifest.model.model_copy(update={"backend": "pr379", "pr_root": "Sana"})
    refiner = run.manifest.refiner.model_copy(update={"mode": "single_shot"})
    manifest = run.manifest.model_copy(update={"model": model, "refiner": refiner})
    return RunForecaster(manifest, run.layout, run.device).planners()[stage, "transformer"](budget_bytes)


@pytest.mark.parametrize("num_frames", [161, 321, 961])
@pytest.mark.parametrize(("stage", "target"), [("stage1", "stage1"), ("refiner", "refiner_single_shot")])
def test_upstreams_memory_as_counted(full_size_run, stage: Stage, target: str, num_frames: int) -> None:
    run = full_size_run(Device("mps", "Apple M3 Max", 96 * GIB, "2.13.0"), num_frames, 96)
    phase = forecast(run, stage, 96 * GIB)
    counted = PEAKS[f"{target} (pr379, {num_frames} frames)"]
    assert 0.99 * counted <= phase.device_bytes <= 1.1 * counted


def test_upstreams_refiner_is_resident_or_refused(full_size_run) -> None:
    run = full_size_run(Device("mps", "Apple M3 Max", 96 * GIB, "2.13.0"), 321, 96)
    assert forecast(run, "refiner", 96 * GIB).plan == {"mode": "resident", "resident_blocks": 48}
    with pytest.raises(MemoryCapError):
        forecast(run, "refiner", 24 * GIB)
    assert math.isclose(forecast(run, "refiner", 32 * GIB).weights_bytes, 13_041_520_768 * 2, rel_tol=0.01)
