"""When each job of a queue, and the whole, will be through."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sana_wm.cli.queue_text import describe_queue, queue_as_json
from sana_wm.progress.status import StatusReader
from sana_wm.queue.adding import add
from sana_wm.queue.folder import Queue
from sana_wm.queue.forecast import forecast, forecast_jobs, whole
from sana_wm.queue.job import Job, JobState
from sana_wm.runs.run_directory import RunDirectory


def job(number: int, state: JobState, expected_s: float | None, *, is_guess: bool = False) -> Job:
    return Job(
        number=number,
        name="road",
        run_dir="/runs/road",
        state=state,
        turn=number,
        added_at_s=1.0,
        expected_s=expected_s,
        is_guess=is_guess,
    )


def test_times_add_up_in_the_order_of_the_jobs() -> None:
    found = forecast_jobs([job(1, "running", 50.0), job(2, "waiting", 100.0), job(3, "done", 900.0)], {})
    assert [(one.position, one.left.seconds, one.through_in_s) for one in found] == [
        (1, 50.0, 50.0),
        (2, 100.0, 150.0),
        (None, None, None),
    ]


def test_what_runs_says_itself_what_is_left(finished_run: Path) -> None:
    snapshot = replace(StatusReader(RunDirectory(finished_run)).look(), remaining_s=30.0, guessed=("refiner",))
    found = forecast_jobs([job(1, "running", 1.0), job(2, "waiting", 100.0)], {1: snapshot})
    assert [(one.through_in_s, one.is_guess) for one in found] == [(30.0, True), (130.0, True)]
    silent = replace(snapshot, remaining_s=None)
    assert forecast_jobs([job(1, "running", 1.0)], {1: silent})[0].left.seconds == 1.0


def test_a_guess_or_a_gap_makes_all_that_follows_a_guess() -> None:
    found = forecast_jobs([job(1, "waiting", 1.0), job(2, "waiting", 1.0, is_guess=True), job(3, "waiting", 1.0)], {})
    assert [one.is_guess for one in found] == [False, True, True]
    found = forecast_jobs([job(1, "waiting", None), job(2, "waiting", 1.0)], {})
    assert [(one.through_in_s, one.is_guess) for one in found] == [(None, True), (1.0, True)]
    assert (whole(found).seconds, whole(found).is_guess) == (1.0, True)


def test_the_whole_is_a_range_while_a_part_of_it_is_a_guess(queue: Queue, finished_run: Path) -> None:
    guess = job(2, "waiting", 600.0, is_guess=True).model_copy(update={"expected_range_s": (100.0, 3600.0)})
    snapshot = StatusReader(RunDirectory(finished_run)).look()
    snapshot = replace(snapshot, remaining_s=100.0, remaining_low_s=90.0, remaining_high_s=120.0)
    found = forecast_jobs([job(1, "running", 1.0), guess, job(3, "waiting", 60.0)], {1: snapshot})
    assert (whole(found).seconds, whole(found).range_s) == (760.0, (250.0, 3780.0))
    assert "3 to come: 4 m 10 s to 1 h 03 m, a guess (started now, " in describe_queue(queue, found, None)[-1]
    told = queue_as_json(queue, found, None)
    assert (told["remaining_low_s"], told["remaining_s"], told["remaining_high_s"]) == (250.0, 760.0, 3780.0)
    known = describe_queue(queue, forecast_jobs([job(3, "waiting", 60.0)], {}), None)
    assert "1 to come: 1 m 00 s (started now, " in known[-1]


def test_a_guess_is_planned_anew_until_something_like_it_ran_here(
    queue: Queue, write_manifest: Callable[..., Path]
) -> None:
    (added,) = add(queue, [write_manifest()], os.environ)
    with queue.changing():
        queue.write(added.job.model_copy(update={"expected_s": None}))
    (one,) = forecast(queue, os.environ)
    assert one.left.seconds is not None
    with queue.changing():
        queue.write(added.job.model_copy(update={"expected_s": 7.0, "is_guess": False}))
    (one,) = forecast(queue, os.environ)
    assert one.left.seconds == 7.0
