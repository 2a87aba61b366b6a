"""What a start leaves of itself: read back, read as the first version wrote it, and read as nothing when damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sana_wm.progress.run_record import ExpectedPhase, RunAsked, RunEnd, RunStart
from sana_wm.progress.snapshot import RunError
from sana_wm.runs.run_directory import RunDirectory

START = RunStart(
    started_at_s=1795597261.155,
    actions={"stage1": "skip", "refiner": "run", "vae_decode": "run"},
    expected_s=(
        ExpectedPhase("refiner", "transformer", 100.5, True),
        ExpectedPhase("vae_decode", "saving", 2.0, False),
    ),
)
#: As the first version wrote them.
FIRST_START = """{
  "started_at_s": 1795597261.155,
  "actions": {"stage1": "skip", "refiner": "run", "vae_decode": "run"},
  "expected_s": [["refiner", "transformer", 100.5, true], ["vae_decode", "saving", 2, false]]
}
"""
FIRST_END = """{
  "ended_at_s": 1795597270.5,
  "state": "failed",
  "error": {"message": "stopped. Go on with: sana-wm resume /then", "exit_code": 5},
  "run_dir": "/then"
}
"""
DAMAGED = [
    "",
    "{",
    "[]",
    "7",
    "null",
    "{}",
    '{"started_at_s": 1, "actions": []}',
    '{"started_at_s": 1, "actions": {"stage1": "fly"}}',
    '{"started_at_s": "1", "actions": {}}',
    '{"started_at_s": 1, "actions": {}, "expected_s": [["stage1", "transformer", NaN, true]]}',
    '{"started_at_s": 1, "actions": {}, "expected_s": [["stage1"]]}',
    '{"state": "going", "note": "x"}',
    '{"state": "stopping", "note": 7}',
    '{"ended_at_s": 1, "state": "finished", "error": "none"}',
    '{"ended_at_s": 1e999, "state": "finished", "error": null}',
    '{"ended_at_s": 1, "state": "failed", "error": {"message": ["x"], "exit_code": 5}}',
    '{"ended_at_s": ' + "[" * 100_000 + "]" * 100_000 + "}",
]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path)
    directory.start_file.parent.mkdir()
    return directory


def test_a_start_is_read_back_and_takes_the_last_end_away(run: RunDirectory) -> None:
    RunEnd.of(run, 1.0, "finished", None).write(run)
    RunAsked(state="stopping", note="asked").write(run)
    START.write(run)
    assert RunStart.read(run) == START
    assert (RunEnd.read(run), RunAsked.read(run)) == (None, None)
    assert START.stages == ("refiner", "vae_decode")
    assert START.expected == {("refiner", "transformer"): 100.5, ("vae_decode", "saving"): 2.0}
    assert START.guessed == {("refiner", "transformer")}
    assert (START.expected_of("refiner"), START.expected_of("stage1")) == (100.5, None)


def test_records_of_the_first_version_are_read(run: RunDirectory) -> None:
    run.start_file.write_text(FIRST_START)
    run.end_file.write_text(FIRST_END)
    run.asked_file.write_text('{"state": "stopping", "note": "saves"}')
    assert RunStart.read(run) == START
    assert RunAsked.read(run) == RunAsked(state="stopping", note="saves")
    end = RunEnd.read(run)
    assert end is not None
    assert (end.ended_at_s, end.state) == (1795597270.5, "failed")
    assert end.error == RunError(f"stopped. Go on with: {run.resume_command}", 5)
    run.end_file.write_text('{"ended_at_s": 5.0, "state": "finished", "error": null}')  # before it said where it lay
    assert RunEnd.read(run) == RunEnd(ended_at_s=5.0, state="finished")


def test_keys_of_a_later_version_are_passed_over(run: RunDirectory) -> None:
    run.start_file.write_text(json.dumps(json.loads(FIRST_START) | {"queue": "night"}))
    assert RunStart.read(run) == START


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: content[:60])
def test_a_damaged_record_is_none(run: RunDirectory, content: str) -> None:
    for path in (run.start_file, run.asked_file, run.end_file):
        path.write_text(content)
    assert (RunStart.read(run), RunAsked.read(run), RunEnd.read(run)) == (None, None, None)


def test_what_is_no_file_is_none(run: RunDirectory) -> None:
    run.start_file.mkdir()
    os.mkfifo(run.asked_file)
    run.end_file.symlink_to("/dev/zero")
    assert (RunStart.read(run), RunAsked.read(run), RunEnd.read(run)) == (None, None, None)


def test_an_error_that_names_a_file_of_odd_bytes_is_kept(run: RunDirectory) -> None:
    RunEnd.of(run, 1.0, "failed", RunError("no file \udce9.png", 3)).write(run)
    end = RunEnd.read(run)
    assert end is not None
    assert end.error == RunError("no file ?.png", 3)
