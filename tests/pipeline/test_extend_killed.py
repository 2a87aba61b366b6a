"""`sana-wm extend` by command, undisturbed and killed in the middle of a stage: the bytes of one long run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.extending import same_latents
from tests.pipeline.streaming_runs import run_here, tiny_student, write_streaming_manifest

from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify
from sana_wm.video.reader import read_frames

pytestmark = pytest.mark.long

FAULTS = Path(__file__).parent / "faults"
#: Two chunks, and two more: a kill after the first new one is in the middle.
SHORT_FRAMES, LONG_FRAMES = 49, 97


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, RunDirectory]:
    """A short run, and the long one."""
    folder = tmp_path_factory.mktemp("runs")
    student = tiny_student(folder / "weights")
    action: dict[str, Any] = {"camera__action": "w-48,l-48"}
    short = run_here(write_streaming_manifest(folder / "short", student, SHORT_FRAMES, **action))
    return short, run_here(write_streaming_manifest(folder / "long", student, LONG_FRAMES, **action))


def command(*arguments: object, fault: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(FAULTS), *filter(None, [os.getenv("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "SANA_WM_TEST_FAULT": json.dumps(fault)}
    line = [sys.executable, "-m", "sana_wm", *map(str, arguments)]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)


def assert_is_the_long_run(longer: RunDirectory, long: RunDirectory, earlier_blocks: int = 2) -> None:
    assert same_latents(longer, long)
    frames = ([frame.tobytes() for frame in read_frames(run.video_file)] for run in (longer, long))
    assert next(frames) == next(frames)
    assert [link for link in verify(longer) if link.state != "holds"] == []
    receipt = read_receipt(longer, "refiner")
    assert receipt is not None
    assert receipt.plan["earlier_blocks"] == earlier_blocks


@pytest.mark.parametrize(("point", "going_on"), [("before rename", "run-pipeline"), ("after rename", "resume")])
@pytest.mark.parametrize("stage", ["stage1", "refiner"])
def test_an_extension_that_was_killed_goes_on_to_the_same_bytes(
    runs: tuple[RunDirectory, RunDirectory], tmp_path: Path, stage: str, point: str, going_on: str
) -> None:
    """After one of its two new chunks, or blocks, while that is written and once it is."""
    short, long = runs
    longer, marker = RunDirectory(tmp_path / "longer"), tmp_path / "killed"
    fault = {"role": "stage", "point": point, "file": f"checkpoints/{stage}/00003.safetensors", "marker": str(marker)}
    fault |= {"signal": "SIGKILL", "target": "all"}
    killed = command("extend", short.path, "--seconds", 3, "--out", longer.path, fault=fault)
    assert marker.exists(), killed.stderr
    assert killed.returncode == -signal.SIGKILL
    assert not longer.latents_file("refiner").exists()
    went_on = command(going_on, longer.path if going_on == "resume" else tmp_path / "longer.json")
    assert went_on.returncode == 0, went_on.stderr
    assert_is_the_long_run(longer, long)


def test_an_extension_of_an_extension_is_the_long_run(runs: tuple[RunDirectory, RunDirectory], tmp_path: Path) -> None:
    short, long = runs
    for run, out in ((short.path, tmp_path / "longer"), (tmp_path / "longer", tmp_path / "longest")):
        extended = command("extend", run, "--seconds", 1.5, "--out", out)
        assert extended.returncode == 0, extended.stderr
        assert "\nnext:\n  sana-wm report " in extended.stderr
    assert_is_the_long_run(RunDirectory(tmp_path / "longest"), long, earlier_blocks=3)
