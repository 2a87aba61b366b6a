"""How good the time left is on real tiny runs, given one earlier run of the same work. `make test-long` only."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import pytest

RUNS = 3
SHARES = (1 / 3, 1 / 2, 2 / 3)
REPORT = Path(__file__).resolve().parents[2] / "reports" / "eta.json"
KINDS: dict[str, dict[str, Any]] = {
    "starts dominate: 57 frames at 96x160, 8 steps": {"stage1__num_inference_steps": 8},
    "work and starts alike: 57 frames at 192x320, 60 steps": {
        "stage1__num_inference_steps": 60,
        "video__height": 192,
        "video__width": 320,
    },
}


def run_once(manifest: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "sana_wm", "run-pipeline", str(manifest), "--json-progress"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def errors_of(lines: list[dict[str, Any]]) -> list[dict[str, float]]:
    """At each share of the run: what was said to be left, and what was."""
    whole_s = lines[-1]["elapsed_s"]
    rows: list[dict[str, float]] = []
    for share in SHARES:
        line = next(line for line in lines if line["elapsed_s"] >= share * whole_s)
        left_s = whole_s - line["elapsed_s"]
        rows.append(
            {
                "share_done": round(line["elapsed_s"] / whole_s, 3),
                "said_s": line["remaining_s"],
                "left_s": round(left_s, 3),
                "error": round(abs(line["remaining_s"] - left_s) / left_s, 3),
            }
        )
    return rows


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_third_of_a_real_run_the_time_left_is_within_a_fifth(
    write_manifest: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    common = {"video__num_frames": 57, "camera__action": "w-56", "refiner__block_size": 1, **KINDS[kind]}
    earlier = tmp_path / "first" / "earlier"
    run_once(write_manifest(output_dir=str(earlier), **common))
    runs: list[dict[str, Any]] = []
    for number in range(RUNS):
        folder = tmp_path / str(number)
        shutil.copytree(earlier, folder / "earlier")
        lines = run_once(write_manifest(output_dir=str(folder / "run"), **common))
        runs.append({"seconds": lines[-1]["elapsed_s"], "load": round(os.getloadavg()[0], 2), "at": errors_of(lines)})
    content = json.loads(REPORT.read_text()) if REPORT.is_file() else {}
    content |= {
        "what": "remaining_s of --json-progress against what was left; one earlier run of the same work known",
        "command": "pytest -m long tests/pipeline/test_eta.py",
    }
    content.setdefault("kinds", {})[kind] = {
        "date": str(date.today()),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "earlier_seconds": json.loads((earlier / "metrics.json").read_text())["seconds"],
        "runs": runs,
    }
    REPORT.write_text(json.dumps(content, indent=1) + "\n")
    assert median(run["at"][0]["error"] for run in runs) < 0.2
