"""What becomes of a job, and in which order jobs come."""

from __future__ import annotations

import pytest

from sana_wm.preflight.prospect import Choices
from sana_wm.queue.job import Expectation, Job, JobOptions, in_order

JOB = Job(number=1, name="road", run_dir="/runs/road", turn=1, added_at_s=1.0, expected_s=100.0)


def test_the_first_failure_sends_a_job_behind_all_others_the_second_parks_it() -> None:
    once = JOB.begun(2.0).failed("no room", 3.0, last_turn=7)
    assert (once.state, once.turn, once.failures, once.reason) == ("waiting", 8, 1, "no room")
    twice = once.begun(4.0).failed("no room again", 5.0, last_turn=9)
    assert (twice.state, twice.failures, twice.reason) == ("failed", 2, "no room again")


def test_a_job_that_was_stopped_keeps_its_turn_and_knows_what_is_left() -> None:
    stopped = JOB.begun(2.0).stopped("you stopped it", 3.0, Expectation(40.0, (30.0, 60.0)))
    assert (stopped.state, stopped.turn, stopped.failures, stopped.expected_s) == ("waiting", 1, 0, 40.0)
    assert stopped.expected_range_s == (30.0, 60.0)
    assert JOB.begun(2.0).stopped("you stopped it", 3.0).expected_s == 100.0


def test_a_retried_job_has_never_failed_and_comes_last() -> None:
    parked = JOB.failed("a", 2.0, 1).failed("b", 3.0, 1)
    retried = parked.retried(last_turn=5)
    assert (retried.state, retried.turn, retried.failures, retried.reason) == ("waiting", 6, 0, None)


def test_jobs_are_shown_as_they_come() -> None:
    def job(number: int, state: str, turn: int) -> Job:
        return JOB.model_copy(update={"number": number, "state": state, "turn": turn})

    shown = in_order(
        [job(1, "done", 1), job(2, "waiting", 9), job(3, "failed", 3), job(4, "waiting", 4), job(5, "running", 5)]
    )
    assert [one.number for one in shown] == [5, 4, 2, 3, 1]


def test_a_reason_that_is_no_unicode_or_endless_is_kept_all_the_same() -> None:
    failed = JOB.failed("x" * 5000 + "\udcff", 2.0, 1)
    assert len(failed.reason or "") == 2000
    assert Job.model_validate_json(JOB.stopped("\udcff", 2.0).model_dump_json()).reason == "?"


@pytest.mark.parametrize(
    ("choices", "arguments"),
    [
        (Choices(), []),
        (Choices(stop_after="preview", accept_over_cap=True), ["--to", "preview", "--accept-over-cap"]),
        (Choices(accept_numerics=("a", "b")), ["--accept-numerics", "a", "--accept-numerics", "b"]),
    ],
)
def test_what_was_said_when_a_job_was_added_is_said_when_it_runs(choices: Choices, arguments: list[str]) -> None:
    options = JobOptions.of(choices)
    assert options.as_arguments() == arguments
    assert Choices(**options.model_dump()) == choices
