from __future__ import annotations

import contextlib
import os
import pty
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.cli.surroundings import why_no_window
from sana_wm.drafting.demo import commands_after, draw_scene
from sana_wm.figures import format_seconds
from sana_wm.progress.run_record import read_elapsed_s
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.sealed import write_sealed
from sana_wm.video.reader import probe

SanaWM = Callable[..., tuple[int, str, str]]
#: A person before a machine with a screen.
AT_HOME = {"CI": "", "SSH_CONNECTION": "", "DISPLAY": ":0", "TERM": "xterm"}


@pytest.mark.parametrize(
    ("chosen", "variants"),
    [
        (["--variant", "bidirectional"], ["bidirectional"]),
        pytest.param([], ["bidirectional", "streaming"], marks=pytest.mark.long),
    ],
    ids=["one", "both"],
)
def test_the_demo_runs_after_an_interrupted_start_and_opens_its_page(
    tmp_path: Path, chosen: list[str], variants: list[str]
) -> None:
    """In a relative folder, on a terminal; what is opened is what a browser would show."""
    folder = tmp_path / "demo"
    write_sealed(folder / "demo.json", "{}")  # an earlier start came as far as this
    (folder / "checkpoints" / "bidirectional").mkdir(parents=True)
    (folder / "checkpoints" / "bidirectional" / "half").write_text("of an earlier start")
    opener = tmp_path / "bin" / ("open" if sys.platform == "darwin" else "xdg-open")
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    opener.chmod(0o755)
    code, shown = run_on_a_terminal(
        [sys.executable, "-m", "sana_wm", "demo", "--out", "demo", *chosen],
        tmp_path,
        {**os.environ, **AT_HOME, "PATH": f"{opener.parent}:{os.environ['PATH']}"},
    )
    assert code == 0, shown
    assert "the video means nothing" in shown
    page = (folder / "demo.html").read_text(encoding="utf-8")
    assert f"page: {folder / 'demo.html'}" in shown
    assert (tmp_path / "opened").read_text() == f"{folder / 'demo.html'}\n"
    for variant in variants:
        info = probe(folder / variant / "video.mp4")
        assert (info.width, info.height) == (640, 352)
        assert info.metadata["name"].startswith("demo")
        assert f"{variant.capitalize()} model, tiny random weights: {info.num_frames} frames" in page
        assert f"made in {format_seconds(read_elapsed_s(RunDirectory(folder / variant)) or 0)}" in page
    assert page.count("data:video/mp4") == 1 + len(variants)  # the camera, and one of each model
    assert page.count("Every file is what its receipt says.") == len(variants)
    assert "sana-wm weights download" in page
    assert "sana-wm weights download" in shown


def run_on_a_terminal(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    terminal, end = pty.openpty()
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(command, cwd=folder, env=environment, stdin=end, stdout=end, stderr=errors) as process:
            os.close(end)
            said = bytearray()
            with contextlib.suppress(OSError):  # Linux says so that the other end is closed
                while piece := os.read(terminal, 1 << 16):
                    said += piece
            os.close(terminal)
        errors.seek(0)
        return process.returncode, (said + errors.read()).decode()


def test_what_comes_next_is_understood_by_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sana_wm: SanaWM
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_scene(tmp_path, "w-8")
    download, run, promote = (shlex.split(command)[1:] for command, _ in commands_after(tmp_path))
    assert sana_wm(*download, "--help")[0] == 0
    code, _, err = sana_wm(*run, "--dry-run")
    assert code == 3, err  # all is understood; only the weights are missing
    assert "weights" in err
    assert promote == ["promote", "runs/road_draft"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"CI": "true"}, "this is CI"),
        ({"SSH_CONNECTION": "10.0.0.1 5 10.0.0.2 22"}, "this terminal is that of another machine"),
        pytest.param(
            {"DISPLAY": "", "WAYLAND_DISPLAY": ""},
            "there is no display",
            marks=pytest.mark.skipif(sys.platform == "darwin", reason="macOS always has one"),
        ),
    ],
)
def test_no_window_opens_where_nobody_would_see_it(
    changes: dict[str, str], why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (AT_HOME | changes).items():
        monkeypatch.setenv(name, value)
    terminal, end = pty.openpty()
    with os.fdopen(end, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert why_no_window() == why
    os.close(terminal)


def test_no_window_opens_for_a_pipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in AT_HOME.items():
        monkeypatch.setenv(name, value)
    with (tmp_path / "out").open("w") as out, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        assert why_no_window() == "standard output is no terminal"


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path, sana_wm: SanaWM) -> None:
    for name in ("bidirectional.json", "road.png"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "checkpoints").mkdir()
    before = sorted(tmp_path.rglob("*"))
    code, _, err = sana_wm("demo", "--out", tmp_path)
    assert (code, sorted(tmp_path.rglob("*"))) == (2, before)
    assert "no demo made it" in err
    assert "--force" not in err
    assert (tmp_path / "road.png").read_text() == "mine"
