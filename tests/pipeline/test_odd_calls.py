"""System calls that fail while a run works: a lock, a deletion, a log, an event, a checkpoint. Nothing is lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sana_wm.durable import is_part
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify

#: A call, what its file's path holds, and the error; each ends the run.
ENDING = [
    ("unlink", "checkpoints/", errno.EIO),
    ("rename", "video.mp4", errno.EIO),
    ("rename", "receipts/vae_decode", errno.EIO),
    ("write", "checkpoints/", errno.ENOSPC),
    ("write", "events/vae_decode", errno.EIO),
    ("read", "latents/refined", errno.EIO),
]
#: The same, of what a run can do without.
PASSED_OVER = [("write", "logs/", errno.EIO), ("write", "events/memory", errno.ENOSPC)]
Odd = tuple[str, str, int]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> RunDirectory:
    """A run whose decode is still to come."""
    copy = RunDirectory(Path(shutil.copytree(finished_run, tmp_path / "run")))
    copy.clear_stage("vae_decode")
    return copy


def resume(run: RunDirectory, odd_calls: Path | None = None, odd: Odd | None = None) -> tuple[int, str]:
    environment = dict(os.environ)
    if odd is not None:
        call, path, number = odd
        environment |= {"LD_PRELOAD": str(odd_calls), "ODD_CALL": call, "ODD_PATH": path, "ODD_ERROR": str(number)}
    command = [sys.executable, "-m", "sana_wm", "resume", str(run.path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def assert_whole(run: RunDirectory, finished_run: Path) -> None:
    assert run.video_file.read_bytes() == RunDirectory(finished_run).video_file.read_bytes()
    assert [link for link in verify(run) if link.state != "holds"] == []
    assert [path for path in run.path.rglob("*") if is_part(path)] == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_volume_without_locks_is_refused(run: RunDirectory, finished_run: Path, odd_calls: Path, number: int) -> None:
    before = sorted(path for path in run.path.rglob("*") if path.name != ".lock")
    code, err = resume(run, odd_calls, ("flock", ".lock", number))
    assert code == 4
    assert f"cannot be owned; got {os.strerror(number)}" in err
    assert sorted(path for path in run.path.rglob("*") if path.name != ".lock") == before


@pytest.mark.parametrize("odd", [ENDING[0], *(pytest.param(odd, marks=pytest.mark.long) for odd in ENDING[1:])])
def test_a_call_that_fails_ends_the_run_and_loses_nothing(
    run: RunDirectory, finished_run: Path, odd_calls: Path, odd: Odd
) -> None:
    code, err = resume(run, odd_calls, odd)
    log = run.log_file("vae_decode")
    said = err + (log.read_text() if log.exists() else "")
    assert code in (4, 7), err
    assert os.strerror(odd[2]) in said
    assert str(run.path) in err, "whoever reads it must find the file"
    code, err = resume(run)
    assert code == 0, err
    assert_whole(run, finished_run)


@pytest.mark.long
@pytest.mark.parametrize("odd", PASSED_OVER)
def test_what_a_run_can_do_without_ends_no_run(
    run: RunDirectory, finished_run: Path, odd_calls: Path, odd: Odd
) -> None:
    code, err = resume(run, odd_calls, odd)
    assert code == 0, err
    assert_whole(run, finished_run)
