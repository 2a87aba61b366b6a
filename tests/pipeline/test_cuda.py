"""The pipeline on a CUDA device: memory back to zero after every phase, and the same bytes after a kill."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sana_wm.names import Stage
from sana_wm.pipeline import active_stages
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module", autouse=True)
def cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


def run_manifest(folder: Path, source: Path, **changes: Any) -> RunDirectory:
    """Run the manifest of the finished run with other settings."""
    manifest = json.loads((source.parent / "manifest.json").read_text()) | changes
    manifest["input"]["image"] = str(source.parent / "picture.png")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    command = [sys.executable, "-m", "sana_wm", "run-pipeline", str(folder / "manifest.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return RunDirectory(folder / "run")


@pytest.fixture(scope="module")
def on_cuda(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The finished run once more, on CUDA in bfloat16."""
    return run_manifest(tmp_path_factory.mktemp("cuda"), finished_run, device="cuda")


def test_every_phase_gives_its_device_memory_back(on_cuda: RunDirectory) -> None:
    for stage in active_stages(on_cuda.read_manifest()):
        receipt = read_receipt(on_cuda, stage)
        assert receipt is not None
        assert (receipt.device, receipt.dtype) == ("cuda", "bfloat16")
        assert receipt.phases
        for phase in receipt.phases:
            assert phase.after_release_bytes == 0
            assert phase.peak_device_bytes
            assert phase.peak_device_bytes > 0
        assert receipt.process is not None
        assert receipt.process.after_exit_processes == 0


@pytest.mark.parametrize(("stage", "step"), [("stage1", 4), ("refiner", 2)])
def test_a_stage_killed_on_cuda_ends_in_the_same_bytes(
    on_cuda: RunDirectory, tmp_path: Path, stage: Stage, step: int
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(on_cuda.path, run.path)
    run.clear_stage(stage)
    run.events_file(stage).unlink()
    command = [sys.executable, "-m", "sana_wm.stages", stage, str(run.path)]
    process = subprocess.Popen(command)
    while process.poll() is None:
        events = run.events_file(stage).read_text() if run.events_file(stage).exists() else ""
        if f'"event": "step", "step": {step},' in events:
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not run.receipt_file(stage).exists()
    subprocess.run(command, check=True)
    name = run.stage1_file if stage == "stage1" else run.refined_file
    expected = on_cuda.stage1_file if stage == "stage1" else on_cuda.refined_file
    assert name.read_bytes() == expected.read_bytes()


def test_a_float32_run_on_cuda_is_that_of_the_cpu(finished_run: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    run = run_manifest(tmp_path, finished_run, device="cuda", dtype="float32")
    for name in ("stage1_file", "refined_file"):
        ours = load_file(getattr(run, name))["latents"]
        reference = load_file(getattr(RunDirectory(finished_run), name))["latents"]
        assert float((ours - reference).norm() / reference.norm()) < 1e-3
