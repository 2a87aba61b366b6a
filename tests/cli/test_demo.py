from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from sana_wm.runs.sealed import write_sealed
from sana_wm.video.reader import probe

SanaWM = Callable[..., tuple[int, str, str]]


def test_the_demo_runs_from_a_relative_folder_and_after_an_interrupted_start(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    write_sealed(folder / "demo.json", "{}")  # an earlier start came as far as this
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "half").write_text("of an earlier start")
    command = [sys.executable, "-m", "sana_wm", "demo", "--out", "demo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the video means nothing" in done.stdout
    info = probe(tmp_path / "demo" / "run" / "video.mp4")
    assert (info.width, info.height) == (1280, 704)
    assert info.metadata["name"].startswith("demo")


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path, sana_wm: SanaWM) -> None:
    for name in ("manifest.json", "road.png"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "checkpoint").mkdir()
    before = sorted(tmp_path.rglob("*"))
    code, _, err = sana_wm("demo", "--out", tmp_path)
    assert (code, sorted(tmp_path.rglob("*"))) == (2, before)
    assert "no demo made it" in err
    assert "--force" not in err
    assert (tmp_path / "road.png").read_text() == "mine"
