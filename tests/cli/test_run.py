"""`run`: from a picture to a video in one command; all but one test stop before anything runs."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sana_wm.figures import format_seconds
from sana_wm.progress.run_record import read_elapsed_s
from sana_wm.runs.run_directory import RunDirectory

Cli = Callable[..., tuple[int, str, str]]
SAID = ("--prompt", "A road.", "--fov-deg", "70")


@pytest.fixture
def workplace(
    tmp_path: Path, picture: Path, tiny_models: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working folder with the picture, and weights that only `weights` names: a link to the tiny checkpoint."""
    folder = tmp_path / "work"
    folder.mkdir()
    picture.rename(folder / "road.png")
    (folder / "weights").symlink_to(tiny_models["original"]["root"])
    monkeypatch.chdir(folder)
    for name in ("SANA_WM_MODEL_ROOT", "SANA_GEMMA_2_2B_IT_ROOT"):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_a_dry_run_says_everything_and_leaves_nothing(sana_wm: Cli, workplace: Path) -> None:
    before = sorted(workplace.iterdir())
    code, out, err = sana_wm("run", "road.png", *SAID, "--seconds", "0.5", "--move", "crane-up:4f,hold", "--dry-run")
    assert code == 0, err
    assert "stage1     run  not done yet" in out
    assert f"weights: {workplace / 'weights'}, from ./weights" in err
    assert f"run: {workplace / 'runs' / 'road_draft'}" in err
    assert "they are poses, in road_draft-camera.npy" in err
    assert sorted(workplace.iterdir()) == before


def test_a_look_stops_before_the_refiner(sana_wm: Cli, workplace: Path) -> None:
    said = ("run", "road.png", *SAID, "--seconds", "0.5", "--look", "--dry-run")
    code, out, err = sana_wm(*said, "--preset", "standard")
    assert code == 0, err
    actions = {line.split()[0]: line.split()[1] for line in out.splitlines()}
    assert [actions[stage] for stage in ("stage1", "preview")] == ["run", "run"], out
    assert "run" not in (actions["refiner"], actions["vae_decode"]), out
    code, out, err = sana_wm(*said)  # of a draft the video itself is what is looked at
    assert (code, "vae_decode run" in out) == (0, True), err
    assert workplace.joinpath("runs").exists() is False


def test_a_name_that_is_taken_is_left_alone(sana_wm: Cli, workplace: Path) -> None:
    (workplace / "runs" / "road_standard").mkdir(parents=True)
    (workplace / "runs" / "road_standard-2.json").write_text("mine")
    command = ("run", "road.png", *SAID, "--preset", "standard", "--dry-run")
    assert f"run: {workplace / 'runs' / 'road_standard-3'}\n" in sana_wm(*command)[2]
    assert sorted(path.name for path in (workplace / "runs").iterdir()) == ["road_standard", "road_standard-2.json"]
    for taken in ("runs/road_standard", "runs/road_standard-2"):
        code, _, err = sana_wm(*command, "--out", taken)
        assert (code, "is there already" in err, "Choose another --out" in err) == (2, True, True)
    assert (workplace / "runs" / "road_standard-2.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere.png", *SAID), 2, "nowhere.png"),
        (("road.png", "--fov-deg", "70"), 2, "no prompt is given"),
        (("road.png", "--prompt", "A road."), 2, "Give --fov-deg"),
        (("road.png", *SAID, "--seconds", "5", "--variant", "streaming"), 3, "no weights of the streaming model"),
        (("road.png", *SAID, "--seconds", "1.2"), 2, "expected 1 s (17 frames) or 1.5 s (25 frames)"),
        (("road.png", *SAID, "--move", "push-in:1s", "--action", "w-8"), 2, "--move and --action exclude each other"),
        (("road.png", *SAID, "--size", "160"), 2, "expected width x height in pixels"),
        (("road.png", *SAID, "--size", "160x100"), 2, "multiples of 32; got '160x100'; expected 160x96"),
        (("road.png", *SAID, "--cap-gib", "0.5"), 5, "raise memory.cap_gib"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_there(
    sana_wm: Cli, workplace: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    assert (sana_wm("run", *arguments)[0], (workplace / "runs").exists()) == (code, False)
    assert said in sana_wm("run", *arguments)[2]


def test_without_weights_every_place_that_was_looked_at_is_named(sana_wm: Cli, workplace: Path) -> None:
    (workplace / "weights").unlink()
    code, _, err = sana_wm("run", "road.png", *SAID)
    assert code == 3
    assert "SANA_WM_MODEL_ROOT: not set; ./weights: not there; the place that was remembered: none" in err
    assert "sana-wm weights download" in err
    assert "sana-wm weights use DIR" in err


def test_weights_that_are_not_whole_come_with_the_command_that_completes_them(sana_wm: Cli, workplace: Path) -> None:
    model = (workplace / "weights").resolve()
    (workplace / "weights").unlink()
    shutil.copytree(model, workplace / "weights" / "SANA-WM_bidirectional")
    (workplace / "weights" / "gemma-2-2b-it").symlink_to(model / "gemma-2-2b-it")
    assert sana_wm("run", "road.png", *SAID, "--dry-run")[0] == 0
    shutil.rmtree(workplace / "weights" / "SANA-WM_bidirectional" / "vae")
    (workplace / "weights" / "SANA-WM_bidirectional" / "vae").mkdir()
    code, _, err = sana_wm("run", "road.png", *SAID)
    assert (code, "What is missing comes with: sana-wm weights download --layout original\n" in err) == (3, True), err


def test_a_picture_becomes_a_video(workplace: Path, tmp_path: Path) -> None:
    """On a terminal: the last words, a notification, and the system's opener."""
    opener = tmp_path / "bin" / ("open" if sys.platform == "darwin" else "xdg-open")
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened.part && mv {tmp_path}/opened.part {tmp_path}/opened\n')
    opener.chmod(0o755)
    environment = {**os.environ, "PATH": f"{opener.parent}:{os.environ['PATH']}", "TERM": "xterm"}
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "sana_wm", "run", "road.png", *SAID, "--seconds", "0.5", "--size", "160x96"]
    command += ["--open", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end, stdin=end, env=environment) as process:
        os.close(end)
        shown = _read_all(terminal)
        assert process.stdout is not None
        result = json.loads(process.stdout.read())
    assert process.returncode == 0, shown
    run = workplace / "runs" / "road_draft"
    assert result["video"] == str(run / "video.mp4")
    assert "9 frames, 0.6 s at 16 fps, 160x96, " in shown
    assert f", made in {format_seconds(read_elapsed_s(RunDirectory(run)) or 0)}" in shown
    assert "sana-wm report runs/road_draft" in shown
    assert "\a\033]9;sana-wm: road_draft is done\033\\" in shown
    assert (tmp_path / "opened").read_text() == f"{run / 'video.mp4'}\n"
    assert json.loads((run.parent / "road_draft.json").read_text())["name"] == "road_draft"


def _read_all(terminal: int) -> str:
    read = bytearray()
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux says so that nobody writes any more
            data = b""
        if not data:
            os.close(terminal)
            return read.decode(errors="replace")
        read += data


def test_a_run_for_the_queue_keeps_its_name_and_starts_nothing(sana_wm: Cli, workplace: Path) -> None:
    for number, name in enumerate(("road_draft", "road_draft-2"), 1):
        code, out, err = sana_wm("run", "road.png", *SAID, "--size", "96x160", "--queue", "--look")
        assert (code, out) == (0, f"job {number} ({name}) is added: {workplace / 'runs' / name}\n"), err
        assert not (workplace / "runs" / name).exists()
    code, _, err = sana_wm("run", "road.png", *SAID, "--queue", "--open")
    assert (code, "--open and --queue do not go together" in err) == (2, True)
    jobs = json.loads(sana_wm("queue", "list", "--json")[1])["jobs"]
    assert [(job["number"], job["options"]["stop_after"]) for job in jobs] == [(1, "preview"), (2, "preview")]
