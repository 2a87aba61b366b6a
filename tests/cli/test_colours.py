"""Colours on a terminal, and nowhere else: the real command on a pseudo-terminal."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sana_wm.cli.progress_view import make_view
from sana_wm.progress.snapshot import RunSnapshot
from sana_wm.runs.run_directory import RunDirectory

ESCAPE = "\x1b["
DOUBTFUL = ("camera", "explain", "--move", "push-in:1s@9")


def on_a_terminal(*arguments: object, **variables: str) -> str:
    """What a command writes on a terminal of its own, standard error with it."""
    ours, theirs = os.openpty()
    shell = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    command = [sys.executable, "-m", "sana_wm", *map(str, arguments)]
    running = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=shell | {"TERM": "xterm"} | variables
    )
    os.close(theirs)
    said = read_all(ours)
    running.wait()
    return said


def read_all(terminal: int) -> str:
    said = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while chunk := os.read(terminal, 65536):
            said += chunk
    os.close(terminal)
    return said.decode()


@pytest.mark.parametrize("command", [DOUBTFUL, ("xyzzy",)])
def test_a_terminal_shows_labels_in_colour(command: tuple[str, ...]) -> None:
    said = on_a_terminal(*command)
    assert f"{ESCAPE}3" in said
    assert said.replace(f"{ESCAPE}31m", "").replace(f"{ESCAPE}33m", "").replace(f"{ESCAPE}0m", "").count(ESCAPE) == 0


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_turned_off(variables: dict[str, str]) -> None:
    said = on_a_terminal(*DOUBTFUL, **variables)
    assert "warning: move 1" in said
    assert ESCAPE not in said


def test_the_list_of_runs_shows_what_is_not_as_it_should_be(finished_run: Path, tmp_path: Path) -> None:
    for name in ("done", "half"):
        shutil.copytree(finished_run, tmp_path / name)
    RunDirectory(tmp_path / "half").receipt_file("vae_decode").unlink()
    lines = on_a_terminal("runs", "list", tmp_path).splitlines()
    shown = {
        line.removeprefix(f"{ESCAPE}33m").split()[0]: line for line in lines if "unfinished:" in line or "done" in line
    }
    assert shown["half"].startswith(f"{ESCAPE}33m")
    assert ESCAPE not in shown["done"]
    assert ESCAPE not in on_a_terminal("runs", "list", tmp_path, NO_COLOR="1")


def test_a_pipe_gets_none() -> None:
    command = [sys.executable, "-m", "sana_wm", *DOUBTFUL]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "warning: move 1" in done.stderr
    assert ESCAPE not in done.stdout + done.stderr


def test_the_live_view_colours_stages_by_their_state(half_way: RunSnapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert f"{ESCAPE}32m+ stage1" in drawn(half_way)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "+ stage1" in drawn(half_way)
    assert f"{ESCAPE}3" not in drawn(half_way)


def drawn(snapshot: RunSnapshot) -> str:
    """What the live view writes on a terminal."""
    ours, theirs = os.openpty()
    with open(theirs, "w") as terminal, make_view(terminal) as view:  # noqa: PTH123  (a descriptor has no path)
        view("progress", snapshot)
    return read_all(ours)
