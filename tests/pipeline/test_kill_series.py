"""Kill -9 at random moments: the resumed stage always ends in the same bytes. `make test-long` only."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from sana_wm.handoff.run_directory import STAGES, RunDirectory, Stage

TRIALS = 30
SEED = 20261123
REPORT = Path(__file__).resolve().parents[2] / "reports" / "kill-series"


def run_stage(run: RunDirectory, stage: Stage, kill_after_s: float | None) -> bool:
    """Run a stage, killed -9 after a while if it still runs then; returns whether it was killed."""
    command = [sys.executable, "-m", "sana_wm.stages", stage, str(run.path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, err = process.communicate(timeout=kill_after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    assert process.returncode == 0, err
    return False


@pytest.mark.long
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_at_a_random_moment_ends_in_the_same_bytes(
    finished_run: Path, tmp_path: Path, stage: Stage
) -> None:
    undisturbed = RunDirectory(finished_run)
    output = {"stage1": "stage1_file", "refiner": "refined_file", "vae_decode": "video_file"}[stage]
    expected = getattr(undisturbed, output).read_bytes()
    moments = random.Random(f"{SEED} {stage}")
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(undisturbed.path, run.path)
    run.clear_stage(stage)
    start = time.monotonic()
    run_stage(run, stage, None)
    whole_s = time.monotonic() - start
    kills = 0
    for _ in range(TRIALS):
        run.clear_stage(stage)
        if stage == "stage1" and moments.random() < 0.5:
            run.conditioning_file.unlink()  # half the trials begin before the text encoder
        while run_stage(run, stage, moments.uniform(0.2, 1.0) * whole_s):
            kills += 1
        assert getattr(run, output).read_bytes() == expected
        assert run.receipt_file(stage).is_file()
    REPORT.mkdir(parents=True, exist_ok=True)
    summary = {
        "date": str(date.today()),
        "seed": SEED,
        "stage": stage,
        "trials": TRIALS,
        "kills": kills,
        "differences": 0,
    }
    (REPORT / f"{stage}.json").write_text(json.dumps(summary) + "\n")
