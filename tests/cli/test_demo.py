from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sana_wm.drafting.demo import draw_picture
from sana_wm.video.reader import probe


def test_the_demo_runs_from_a_relative_folder_and_after_an_interrupted_start(tmp_path: Path) -> None:
    checkpoint = tmp_path / "demo" / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / "half").write_text("of an earlier start")
    command = [sys.executable, "-m", "sana_wm", "demo", "--out", "demo"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the video means nothing" in done.stdout
    info = probe(tmp_path / "demo" / "run" / "video.mp4")
    assert (info.width, info.height) == (1280, 704)
    assert info.metadata["name"].startswith("demo")


@pytest.mark.parametrize("corner", [(0, 0), (1279, 703)])
def test_the_picture_has_something_to_see(corner: tuple[int, int]) -> None:
    picture = draw_picture()
    assert picture.size == (1280, 704)
    assert picture.getpixel(corner) != picture.getpixel((640, 500))
