"""How long a queue will take."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sana_wm.errors import HandoffError
from sana_wm.preflight.prospect import Choices, inspect
from sana_wm.progress.snapshot import RunSnapshot
from sana_wm.progress.status import StatusReader
from sana_wm.queue.folder import Queue
from sana_wm.queue.job import NOTHING_KNOWN, Expectation, Job
from sana_wm.runs.run_directory import RunDirectory


@dataclass(frozen=True)
class JobForecast:
    """A job and when it will be through.

    Attributes:
        job: The job.
        position: Of what is to come, from 1; `None` for what is done or parked.
        left: Its own time left.
        through_in_s: Until it is through, all before it included as far as they are known; `None` where it is not.
        is_guess: Whether that holds anything that is a guess, or not known.
        snapshot: Where it is, while it runs.
    """

    job: Job
    position: int | None = None
    left: Expectation = NOTHING_KNOWN
    through_in_s: float | None = None
    is_guess: bool = False
    snapshot: RunSnapshot | None = None


def forecast(queue: Queue, environment: Mapping[str, str]) -> list[JobForecast]:
    """All jobs of a queue with their times, in their order.

    Args:
        queue: The queue.
        environment: This process's; says where this machine's times are kept.
    """
    jobs = [_planned_anew(queue, job, environment) for job in queue.jobs()]
    return forecast_jobs(jobs, {job.number: seen for job in jobs if (seen := _look(job)) is not None})


def whole(forecasts: Iterable[JobForecast]) -> Expectation:
    """The time left of the whole queue, as far as it is known; with a gap it is a guess."""
    to_come = [one.left for one in forecasts if one.position is not None]
    known = [
        (left.seconds, left.range_s or (left.seconds, left.seconds)) for left in to_come if left.seconds is not None
    ]
    low_s, high_s = (sum((range_s[end] for _, range_s in known), 0.0) for end in (0, 1))
    is_guess = len(known) < len(to_come) or any(left.is_guess for left in to_come)
    return Expectation(sum((seconds for seconds, _ in known), 0.0), (low_s, high_s), is_guess)


def forecast_jobs(jobs: Iterable[Job], running: dict[int, RunSnapshot]) -> list[JobForecast]:
    """The same from what was read.

    Args:
        jobs: In their order.
        running: How the runs of jobs are that work now.
    """
    forecasts: list[JobForecast] = []
    sum_s, is_guess, position = 0.0, False, 0
    for job in jobs:
        if job.state not in ("running", "waiting"):
            forecasts.append(JobForecast(job))
            continue
        position += 1
        snapshot = running.get(job.number)
        left = job.expected
        if snapshot is not None and snapshot.remaining_s is not None:
            left = Expectation.of_snapshot(snapshot)
        sum_s, is_guess = sum_s + (left.seconds or 0.0), is_guess or left.is_guess or left.seconds is None
        through_in_s = None if left.seconds is None else sum_s
        forecasts.append(JobForecast(job, position, left, through_in_s, is_guess, snapshot))
    return forecasts


def _planned_anew(queue: Queue, job: Job, environment: Mapping[str, str]) -> Job:
    """A job that nobody could time when it was added: since then, one like it may have run here."""
    if job.state != "waiting" or job.begun_at_s is not None or not (job.is_guess or job.expected_s is None):
        return job
    plan = inspect(queue.manifest_file(job.number), environment, Choices(**job.options.model_dump())).plan
    expected = Expectation.of_plan(plan)
    return job if expected.seconds is None else job.expecting(expected)


def _look(job: Job) -> RunSnapshot | None:
    """How the run of a job is that works now; `None` before it has begun."""
    if job.state != "running":
        return None
    try:
        snapshot = StatusReader(RunDirectory(Path(job.run_dir)), time.time).look()
    except HandoffError:
        return None
    return snapshot if snapshot.state in ("running", "stopping") else None
