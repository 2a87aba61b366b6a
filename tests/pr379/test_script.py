"""NVIDIA's inference script, unchanged, from its command line to an MP4."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from sana_wm.video.reader import read_frames

PROGRAM = Path(__file__).parent / "programs" / "script.py"


def test_upstreams_script_makes_a_video(pr_root: Path, tmp_path: Path, tiny_models: dict[str, dict[str, Any]]) -> None:
    model = tiny_models["original"]
    command = [sys.executable, str(PROGRAM), str(pr_root), model["root"], model["gemma_root"], str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    frames = list(read_frames(tmp_path / "out" / "tiny_generated.mp4"))
    assert len(frames) == 8  # nine, without the refiner's sink
    assert frames[0].shape == (704, 1280, 3)
    assert frames[0].std() > 5
