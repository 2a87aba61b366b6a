"""A run directory that goes away while a stage works in it: it is never made anew, nothing is written where it was."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify

SanaWM = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> RunDirectory:
    """A run whose decode is still to come."""
    copy = RunDirectory(Path(shutil.copytree(finished_run, tmp_path / "run")))
    copy.clear_stage("vae_decode")
    return copy


def resume_until_it_works(run: RunDirectory) -> subprocess.Popen[str]:
    run.events_file("vae_decode").unlink()
    command = [sys.executable, "-m", "sana_wm", "resume", str(run.path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not run.events_file("vae_decode").exists():
        time.sleep(0.01)
    return process


def assert_ended_with_a_word(process: subprocess.Popen[str]) -> None:
    _, err = process.communicate()
    assert process.returncode == 4, err
    assert "went away" in err
    assert "Traceback" not in err


def test_a_moved_run_is_not_made_anew_and_goes_on_when_it_is_back(run: RunDirectory) -> None:
    process = resume_until_it_works(run)
    moved = run.path.rename(run.path.with_name("moved"))
    assert_ended_with_a_word(process)
    assert not run.path.exists()
    moved.rename(run.path)
    again = subprocess.run([sys.executable, "-m", "sana_wm", "resume", str(run.path)], capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert [link for link in verify(run) if link.state != "holds"] == []


def test_a_deleted_run_stays_deleted(run: RunDirectory) -> None:
    process = resume_until_it_works(run)
    while run.path.exists():  # a file may be written while its folder is emptied
        shutil.rmtree(run.path, ignore_errors=True)
    assert_ended_with_a_word(process)
    assert not run.path.exists()


def test_another_folder_in_its_place_stays_as_it_is(run: RunDirectory) -> None:
    process = resume_until_it_works(run)
    run.path.rename(run.path.with_name("moved"))
    run.path.mkdir()
    assert_ended_with_a_word(process)
    assert list(run.path.iterdir()) == []
