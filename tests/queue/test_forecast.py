"""When each job of a queue, and the whole, will be through."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sana_wm.progress.status import StatusReader
from sana_wm.queue.adding import add
from sana_wm.queue.folder import Queue
from sana_wm.queue.forecast import forecast, forecast_jobs, remaining_s
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
    assert [(one.position, one.remaining_s, one.through_in_s) for one in found] == [
        (1, 50.0, 50.0),
        (2, 100.0, 150.0),
        (None, None, None),
    ]


def test_what_runs_says_itself_what_is_left(finished_run: Path) -> None:
    snapshot = replace(StatusReader(RunDirectory(finished_run)).look(), remaining_s=30.0, guessed=("refiner",))
    found = forecast_jobs([job(1, "running", 1.0), job(2, "waiting", 100.0)], {1: snapshot})
    assert [(one.through_in_s, one.is_guess) for one in found] == [(30.0, True), (130.0, True)]
    silent = replace(snapshot, remaining_s=None)
    assert forecast_jobs([job(1, "running", 1.0)], {1: silent})[0].remaining_s == 1.0


def test_a_guess_or_a_gap_makes_all_that_follows_a_guess() -> None:
    found = forecast_jobs([job(1, "waiting", 1.0), job(2, "waiting", 1.0, is_guess=True), job(3, "waiting", 1.0)], {})
    assert [one.is_guess for one in found] == [False, True, True]
    found = forecast_jobs([job(1, "waiting", None), job(2, "waiting", 1.0)], {})
    assert [(one.through_in_s, one.is_guess) for one in found] == [(None, True), (1.0, True)]
    assert remaining_s(found) == 1.0


def test_a_guess_is_planned_anew_until_something_like_it_ran_here(
    queue: Queue, write_manifest: Callable[..., Path]
) -> None:
    (added,) = add(queue, [write_manifest()], os.environ)
    with queue.changing():
        queue.write(added.job.model_copy(update={"expected_s": None}))
    (one,) = forecast(queue, os.environ)
    assert one.remaining_s is not None
    with queue.changing():
        queue.write(added.job.model_copy(update={"expected_s": 7.0, "is_guess": False}))
    (one,) = forecast(queue, os.environ)
    assert one.remaining_s == 7.0
