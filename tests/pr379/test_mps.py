"""The MPS check of NVIDIA's own classes with the patch in them; reports/pr379 has it at full size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MPS_CHECK = Path(__file__).resolve().parents[1] / "mps"


@pytest.mark.parametrize("target", ["stage1", "refiner_single_shot"])
def test_the_patched_classes_have_no_finding(pr_root: Path, tmp_path: Path, target: str) -> None:
    file = tmp_path / "report.json"
    layers, frames = ("4", "49") if target == "stage1" else ("2", "321")
    command = [sys.executable, "-m", "mps_check", "--pr-root", str(pr_root), "--target", target]
    command += ["--layers", layers, "--frames", frames, "--json", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(MPS_CHECK)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = json.loads(file.read_text())
    assert report["target"].startswith(f"{target} (pr379")
