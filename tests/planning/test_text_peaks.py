"""The refiner's text phases in memory that device and host share, as on a Mac: forecast against measured peak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.planning.device import Device
from sana_wm.planning.forecast import RunForecaster

GIB = 1024**3
CPU = Device("cpu", "x86_64", 24 * GIB, "2.13.0+cpu")
PROGRAM = Path(__file__).parent / "programs" / "text_peaks.py"
#: glibc keeps freed blocks of up to 32 MiB, and the 49 levels of 15 MiB that are freed before packing are such: between
#: none and 1 GiB, by chance. Nothing of ours, and macOS has another allocator: here it gives back what is freed.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}


@pytest.mark.long
def test_the_streamed_text_encoder_and_the_connectors_take_what_is_forecast(
    full_size_run: Callable[..., RunForecaster], tmp_path: Path
) -> None:
    command = [sys.executable, str(PROGRAM), str(tmp_path / "empty")]
    done = subprocess.run(command, env=os.environ | GIVE_BACK, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured_bytes = json.loads(done.stdout)
    run = full_size_run(CPU, 161, 16)
    planners = run.planners()
    forecast = {
        "text_encoder": planners["refiner", "text_encoder"](8 * GIB),
        "connectors": planners["refiner", "connectors"](16 * GIB),
    }
    assert "streamed" in forecast["text_encoder"].mode
    for phase, peak_bytes in measured_bytes.items():
        # Beside the process itself, which the program leaves out.
        assert 0.95 * peak_bytes <= run.budgeted_bytes(forecast[phase]) <= 1.1 * peak_bytes, phase
