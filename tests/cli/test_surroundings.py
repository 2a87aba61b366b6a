"""What surrounds a command does not change how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]
FULL = Path("/dev/full")
full_disk = pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")


def run(*arguments: object, stdout: Path | None = None, **environment: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "sana_wm", *map(str, arguments)]
    with (stdout or Path(os.devnull)).open("wb") as out:
        done = subprocess.run(
            command, stdout=out, stderr=subprocess.PIPE, text=True, check=False, env={**os.environ, **environment}
        )
    return done.returncode, done.stderr


@full_disk
def test_a_run_ends_as_it_went_when_its_output_is_full(finished_run: Path) -> None:
    manifest = finished_run.parent / "manifest.json"
    code, err = run("run-pipeline", manifest, stdout=FULL)
    assert (code, "vae_decode" in err) == (0, True), err
    with FULL.open("wb") as full:
        command = [sys.executable, "-m", "sana_wm", "resume", str(finished_run)]
        assert subprocess.run(command, stdout=full, stderr=full, check=False).returncode == 0


@full_disk
def test_a_refusal_keeps_its_exit_code_when_nobody_can_read_it(tmp_path: Path) -> None:
    with FULL.open("wb") as full:
        command = [sys.executable, "-m", "sana_wm", "validate-manifest", str(tmp_path / "none.json")]
        assert subprocess.run(command, stdout=full, stderr=full, check=False).returncode == 2


def test_a_terminal_that_cannot_show_a_letter_gets_its_number(tmp_path: Path) -> None:
    folder = tmp_path / "Straße 道"
    folder.mkdir()
    out = tmp_path / "out.txt"
    code, err = run("camera", "explain", "--action", "w-8", PYTHONIOENCODING="ascii:strict")
    assert code == 0, err
    code, err = run("validate-manifest", folder / "m.json", stdout=out, PYTHONIOENCODING="ascii:strict")
    assert (code, "Stra\\xdfe" in err) == (2, True), err


def test_switches_for_other_programs_do_not_reach_us(finished_run: Path) -> None:
    code, err = run("report", finished_run, MPLBACKEND="nonsense", PYTHONWARNINGS="error")
    assert code == 0, err


def test_a_deleted_working_folder_is_a_usage_error(tmp_path: Path) -> None:
    script = (
        f"mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir {tmp_path}/gone && exec {sys.executable} -m sana_wm "
    )
    for command in ("validate-manifest m.json", "camera explain --action w-8"):
        done = subprocess.run(["sh", "-c", script + command], capture_output=True, text=True, check=False)
        assert (done.returncode, "the working folder was deleted" in done.stderr) == (2, True), done.stderr
