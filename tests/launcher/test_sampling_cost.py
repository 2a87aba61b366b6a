"""What the governor's looks cost beside stages of several sizes. `make test-long` only, into `reports/`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from sana_wm.launcher.governor import MemoryLimits
from sana_wm.launcher.memory_watch import MemoryLog, MemoryWatch
from sana_wm.launcher.probes.process import session_members
from sana_wm.launcher.supervisor import SAMPLE_EVERY_S
from sana_wm.sizes import GIB

REPORT = Path(__file__).resolve().parents[2] / "reports" / "sampling.json"
STAGES_GIB = (0.5, 4, 12)
MEASURED_S = 15.0
BAR = 0.005


def share_of_a_core(stage_gib: float, log: Path) -> dict[str, float]:
    """Look at a process that holds this much as the supervisor does."""
    size_bytes = int(stage_gib * GIB)
    script = f"import sys; hoard = bytearray(b'x') * {size_bytes}; print(1, flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    watch = MemoryWatch(lambda: session_members(process.pid), MemoryLog(log, "stage1"))
    limits = MemoryLimits(96 * GIB)
    looks, cpu_s, wall_s = 0, time.process_time(), time.monotonic()
    while time.monotonic() - wall_s < MEASURED_S:
        watch.look(None, None, limits)
        looks += 1
        time.sleep(SAMPLE_EVERY_S)
    cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
    process.communicate()
    return {"stage_gib": stage_gib, "looks": looks, "share_of_a_core": round(cpu_s / wall_s, 5)}


@pytest.mark.long
def test_looking_costs_less_than_half_a_percent_of_a_core(tmp_path: Path) -> None:
    rows = [share_of_a_core(stage_gib, tmp_path / "memory.jsonl") for stage_gib in STAGES_GIB]
    content = {
        "what": "processor time of the governor's looks, four a second, beside a stage of this size",
        "command": "pytest -m long tests/launcher/test_sampling_cost.py",
        "date": str(date.today()),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()},
        "bar": BAR,
        "rows": rows,
    }
    REPORT.write_text(json.dumps(content, indent=2) + "\n")
    assert all(row["share_of_a_core"] < BAR for row in rows)
