"""What people ask of a queue from any terminal: take a job out, try it again, let the runner stop."""

from __future__ import annotations

from collections.abc import Sequence

from sana_wm.errors import UsageError
from sana_wm.queue.folder import Queue, Stop
from sana_wm.queue.job import Job


def pause(queue: Queue, stop: Stop) -> None:
    """Ask the runner to stop; `sana-wm queue run` goes on.

    Raises:
        UsageError: There is none.
    """
    with queue.changing():
        if not queue.is_worked():
            raise UsageError(f"nobody works the queue {queue.path}", next_step="Start with: sana-wm queue run")
        queue.ask(stop)


def cancel(queue: Queue, numbers: Sequence[int]) -> list[Job]:
    """Take jobs out, all or none; what they made stays.

    Returns:
        The jobs; those with `is_cancelled` run, and leave when their runner has stopped them.

    Raises:
        UsageError: There is no such job.
    """
    with queue.changing():
        jobs = [queue.require(number) for number in dict.fromkeys(numbers)]
        is_worked = queue.is_worked()
        return [_take_out(queue, job, is_worked=is_worked) for job in jobs]


def _take_out(queue: Queue, job: Job, *, is_worked: bool) -> Job:
    if job.state == "running" and is_worked:
        return queue.write(job.model_copy(update={"is_cancelled": True}))
    queue.remove(job)
    return job


def retry(queue: Queue, numbers: Sequence[int]) -> list[Job]:
    """Let parked jobs wait for their turn again, all or none.

    Raises:
        UsageError: There is no such job, or it is not parked.
    """
    with queue.changing():
        jobs = [queue.require(number) for number in dict.fromkeys(numbers)]
        for job in jobs:
            if job.state != "failed":
                raise UsageError(f"{job} is not parked", got=f"state {job.state}", expected="a job that failed")
            if not queue.manifest_file(job.number).is_file() or not job.run_dir:
                raise UsageError(f"{job} cannot be tried again", got=job.reason)
        return [queue.write(job.retried(queue.last_turn())) for job in jobs]


def reorder(queue: Queue, numbers: Sequence[int]) -> list[Job]:
    """Let waiting jobs take their turns in another order; those that are not named come after them, as they were.

    Raises:
        UsageError: There is no such job, or it does not wait.
    """
    with queue.changing():
        jobs = [queue.require(number) for number in dict.fromkeys(numbers)]
        for job in jobs:
            if job.state != "waiting":
                raise UsageError(f"{job} does not wait", got=f"state {job.state}", expected="a job that waits")
        others = [job for job in queue.jobs() if job.state == "waiting" and job.number not in numbers]
        turns = sorted(job.turn for job in (*jobs, *others))
        return [
            queue.write(job.model_copy(update={"turn": turn}))
            for job, turn in zip((*jobs, *others), turns, strict=True)
        ]
