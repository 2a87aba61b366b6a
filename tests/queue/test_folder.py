"""What lies in a queue's folder survives kills and damage."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm import durable
from sana_wm.durable import is_part
from sana_wm.errors import RunDirectoryBusyError, UsageError
from sana_wm.queue import folder
from sana_wm.queue.folder import Queue
from sana_wm.queue.job import Job
from sana_wm.queue.requests import cancel, pause, reorder, retry

Put = Callable[..., Job]


def test_a_number_is_never_given_twice(queue: Queue, put: Put) -> None:
    assert [put("good").number for _ in range(3)] == [1, 2, 3]
    assert [job.number for job in cancel(queue, [3, 2])] == [3, 2]
    assert put("good").number == 4
    queue.record_file.write_text("{")  # damaged: what is there still counts
    assert put("good").number == 5
    assert [job.number for job in queue.jobs()] == [1, 4, 5]


def test_waiting_jobs_take_their_turns_in_the_order_that_is_said(queue: Queue, put: Put) -> None:
    for _ in range(4):
        put("good")
    reorder(queue, [4, 2])
    assert [job.number for job in queue.jobs()] == [4, 2, 1, 3]
    assert put("good").number == 5
    reorder(queue, [5, 5, 3])
    assert [job.number for job in queue.jobs()] == [5, 3, 4, 2, 1]
    with pytest.raises(UsageError, match="no job 9"):
        reorder(queue, [1, 9])
    queue.write(queue.require(1).model_copy(update={"state": "done"}))
    with pytest.raises(UsageError, match=r"does not wait.*state done"):
        reorder(queue, [2, 1])
    assert [job.number for job in queue.jobs() if job.state == "waiting"] == [5, 3, 4, 2]


def test_a_job_whose_file_is_damaged_is_parked_and_blocks_nothing(queue: Queue, put: Put) -> None:
    put("good")
    put("good")
    queue.job_file(1).write_text('{"number": 1')
    assert [(job.number, job.state) for job in queue.jobs()] == [(2, "waiting"), (1, "failed")]
    with pytest.raises(UsageError, match=r"cannot be tried again.*cannot be read"):
        retry(queue, [1])
    cancel(queue, [1])
    assert [job.number for job in queue.jobs()] == [2]


def test_a_kill_at_any_point_of_adding_or_cancelling_leaves_whole_jobs_or_none(queue: Queue, put: Put) -> None:
    """Each point of each durable write is killed at, in a process of its own, and the queue works on."""
    context = multiprocessing.get_context("fork")
    put("good")

    def dies_at(count: int, act: Callable[[], object]) -> bool:
        def body() -> None:
            reached = 0

            def reach(_point: str, _path: Path) -> None:
                nonlocal reached
                reached += 1
                if reached == count:
                    os.kill(os.getpid(), signal.SIGKILL)

            durable.on_point = reach
            act()
            os._exit(0)

        process = context.Process(target=body)
        process.start()
        process.join()
        return process.exitcode == -signal.SIGKILL

    kills = 0
    while dies_at(kills + 1, lambda: put("good")):
        kills += 1
        assert all(queue.manifest_file(job.number).read_text() == "{}" for job in queue.jobs())
        assert all(job.name == "good" for job in queue.jobs())
    assert kills > 20  # three files, with eight points each
    with queue.changing():
        queue.sweep()
    assert not [path for path in queue.path.rglob("*") if is_part(path)]
    assert len(list(queue.path.glob("[0-9]*"))) == len(queue.jobs())
    assert len({job.number for job in queue.jobs()}) == len(queue.jobs())
    assert put("good").number > max(job.number for job in queue.jobs()[:-1])


def test_two_changes_at_once_lose_nothing(queue: Queue, put: Put) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=put, args=("good",)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert [job.number for job in queue.jobs()] == list(range(1, 9))
    assert sorted(job.turn for job in queue.jobs()) == list(range(1, 9))


def test_a_change_that_hangs_is_named_in_time(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "CHANGE_WITHIN_S", 0.05)
    with queue.changing(), pytest.raises(RunDirectoryBusyError, match="is being changed"), Queue(queue.path).changing():
        pass


def test_what_is_not_there_is_named(queue: Queue, put: Put) -> None:
    put("good")
    for act in (cancel, retry):
        with pytest.raises(UsageError, match="has no job 7; expected 1"):
            act(queue, [1, 7])
    assert [job.state for job in queue.jobs()] == ["waiting"]  # all or none
    with pytest.raises(UsageError, match="is not parked; got state waiting"):
        retry(queue, [1])
    with pytest.raises(UsageError, match="nobody works the queue"):
        pause(queue, "now")
