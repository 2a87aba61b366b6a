"""What a start knows of those before it, also of one that was killed and could not say a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sana_wm.names import SAVING, STARTING, Stage
from sana_wm.progress.earlier_starts import look_back
from sana_wm.progress.idle import Idle, worked_s
from sana_wm.progress.run_record import EarlierStarts, Reached, RunEnd, RunStart
from sana_wm.runs.decisions import StageDecision
from sana_wm.runs.run_directory import RunDirectory

DECISIONS = [StageDecision(stage, "run", "") for stage in ("stage1", "refiner", "vae_decode")]
EXPECTED: dict[tuple[Stage, str], float] = {
    ("stage1", STARTING): 5.0,
    ("stage1", "text_encoder"): 20.0,
    ("stage1", "vae_encoder"): 10.0,
    ("stage1", "transformer"): 100.0,
    ("stage1", SAVING): 2.0,
    ("refiner", "transformer"): 50.0,
}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Killed 290 s after its start, in the third of four steps; 30 s of it asleep."""
    directory = RunDirectory(tmp_path)
    begun = RunStart.of(DECISIONS, EXPECTED, 1000.0, earlier=EarlierStarts(50.0, {"stage1": {STARTING: 7.0}}))
    begun.model_copy(update={"begun_s": {"stage1": 1010.0}, "idle": (Idle(1100.0, 1130.0),)}).write(_made(directory))
    emit(directory, 900.0, "phase_start", phase="transformer")  # of an earlier start
    emit(directory, 1015.0, "phase_start", phase="transformer")
    emit(directory, 1016.0, "steps_begin", step=0, total=4)
    emit(directory, 1080.0, "step", step=1, total=4)
    emit(directory, 1250.0, "step", step=2, total=4)
    directory.memory_file.write_text(json.dumps({"time_s": 1290.0, "stage": "stage1"}) + "\n")
    directory.beginning_file("stage1").parent.mkdir(parents=True)
    directory.beginning_file("stage1").write_text("{}")
    return directory


def _made(run: RunDirectory) -> RunDirectory:
    run.start_file.parent.mkdir()
    return run


def emit(run: RunDirectory, time_s: float, event: str, **fields: Any) -> None:
    with run.events_file("stage1").open("a") as file:
        file.write(json.dumps({"time_s": time_s, "event": event, **fields}) + "\n")


def test_a_killed_start_counts_until_its_last_word(run: RunDirectory) -> None:
    earlier = look_back(run, DECISIONS)
    assert earlier.seconds == 50 + 290 - 30
    assert earlier.stages_s == {"stage1": {STARTING: 7 + 5, "transformer": 275 - 30}}
    assert earlier.reached == {"stage1": Reached("transformer", 0.5)}


def test_one_that_could_say_how_it_ended_counts_until_then(run: RunDirectory) -> None:
    RunEnd.of(run, 1300.0, "interrupted", None).write(run)
    assert look_back(run, DECISIONS).seconds == 50 + 300 - 30


def test_what_was_done_is_not_expected_again(run: RunDirectory) -> None:
    start = RunStart.of(DECISIONS, EXPECTED, 2000.0, earlier=look_back(run, DECISIONS))
    assert start.expected == EXPECTED | {
        ("stage1", "text_encoder"): 0.0,
        ("stage1", "vae_encoder"): 0.0,
        ("stage1", "transformer"): 50.0,
    }
    assert start.elapsed_s(2001.0) == 50 + 290 - 30 + 1


def test_how_far_a_stage_is_outlives_a_start_that_got_nowhere(run: RunDirectory) -> None:
    RunStart.of(DECISIONS, EXPECTED, 2000.0, earlier=look_back(run, DECISIONS)).write(run)
    again = look_back(run, DECISIONS)
    assert again.reached == {"stage1": Reached("transformer", 0.5)}
    assert again.stages_s["stage1"]["transformer"] == 275 - 30


def test_a_stage_that_starts_over_takes_nothing_along(run: RunDirectory) -> None:
    earlier = look_back(run, DECISIONS, over=("stage1",))
    assert (earlier.stages_s, earlier.reached, earlier.seconds) == ({}, {}, 50 + 290 - 30)


def test_a_new_directory_has_no_earlier_start(tmp_path: Path) -> None:
    assert look_back(RunDirectory(tmp_path), DECISIONS) == EarlierStarts()


@pytest.mark.parametrize(
    ("idle", "seconds"),
    [
        ((), 100.0),
        ((Idle(10.0, 30.0),), 80.0),
        ((Idle(10.0, 30.0), Idle(20.0, 40.0)), 70.0),
        ((Idle(-50.0, 20.0), Idle(90.0, 500.0)), 70.0),
        ((Idle(60.0),), 60.0),
        ((Idle(200.0),), 100.0),
    ],
)
def test_seconds_in_which_nothing_ran_are_left_out_once(idle: tuple[Idle, ...], seconds: float) -> None:
    assert worked_s(0.0, 100.0, idle) == seconds


def test_a_clock_that_was_set_back_makes_no_negative_time() -> None:
    assert worked_s(100.0, 50.0, (Idle(60.0, 70.0),)) == 0.0
