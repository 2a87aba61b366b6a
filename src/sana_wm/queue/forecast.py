"""How long a queue will take."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sana_wm.errors import HandoffError
from sana_wm.preflight.prospect import inspect
from sana_wm.progress.snapshot import RunSnapshot
from sana_wm.progress.status import StatusReader
from sana_wm.queue.folder import Queue
from sana_wm.queue.job import Job
from sana_wm.runs.run_directory import RunDirectory


@dataclass(frozen=True)
class JobForecast:
    """A job and when it will be through.

    Attributes:
        job: The job.
        position: Of what is to come, from 1; `None` for what is done or parked.
        remaining_s: Its own time left; `None` where it is not known.
        through_in_s: Until it is through, all before it included as far as they are known; `None` where it is not.
        is_guess: Whether that holds anything that is a guess, or not known.
        snapshot: Where it is, while it runs.
    """

    job: Job
    position: int | None = None
    remaining_s: float | None = None
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


def remaining_s(forecasts: Iterable[JobForecast]) -> float:
    """Of the whole queue, as far as it is known."""
    return sum(one.remaining_s or 0.0 for one in forecasts)


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
        own_s, is_own_guess = job.expected_s, job.is_guess
        if snapshot is not None and snapshot.remaining_s is not None:
            own_s, is_own_guess = snapshot.remaining_s, bool(snapshot.guessed or snapshot.not_counted)
        sum_s, is_guess = sum_s + (own_s or 0.0), is_guess or is_own_guess or own_s is None
        through_in_s = None if own_s is None else sum_s
        forecasts.append(JobForecast(job, position, own_s, through_in_s, is_guess, snapshot))
    return forecasts


def _planned_anew(queue: Queue, job: Job, environment: Mapping[str, str]) -> Job:
    """A job that nobody could time when it was added: since then, one like it may have run here."""
    if job.state != "waiting" or job.begun_at_s is not None or not (job.is_guess or job.expected_s is None):
        return job
    plan = inspect(queue.manifest_file(job.number), environment, job.options.as_choices()).plan
    if plan is None or not plan.fits:
        return job
    return job.model_copy(update={"expected_s": plan.seconds, "is_guess": not plan.is_measured})


def _look(job: Job) -> RunSnapshot | None:
    """How the run of a job is that works now; `None` before it has begun."""
    if job.state != "running":
        return None
    try:
        snapshot = StatusReader(RunDirectory(Path(job.run_dir)), time.time).look()
    except HandoffError:
        return None
    return snapshot if snapshot.state in ("running", "stopping") else None
