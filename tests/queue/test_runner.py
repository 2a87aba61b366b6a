"""A runner works one job at a time; what fails is parked, what is stopped goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_job import lines
from sana_wm.errors import RunDirectoryBusyError
from sana_wm.launcher.power import PowerReading
from sana_wm.queue import runner as runner_module
from sana_wm.queue.folder import Queue
from sana_wm.queue.hours import Hours
from sana_wm.queue.job import Job
from sana_wm.queue.requests import cancel, pause, retry
from sana_wm.queue.runner import Runner
from sana_wm.runs.lock import is_owned, owning
from sana_wm.runs.run_directory import RunDirectory

Put = Callable[..., Job]
MakeRunner = Callable[..., Runner]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "LOOK_EVERY_S", 0.05)


def states(queue: Queue) -> dict[int, str]:
    return {job.number: job.state for job in sorted(queue.jobs(), key=lambda job: job.number)}


def when_it_works(job: Job, act: Callable[[], object]) -> threading.Thread:
    """Do something as soon as a job has done a few more of its steps."""
    steps = Path(job.run_dir, "steps")
    enough = len(lines(steps)) + 3

    def wait() -> None:
        while len(lines(steps)) < enough:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def begins(said: list[str]) -> list[str]:
    return [line.split(";")[0] for line in said if " begins;" in line]


def test_jobs_are_done_one_after_another_and_leave_nothing_running(queue: Queue, put: Put, runner: MakeRunner) -> None:
    jobs, said = [put("good"), put("good")], list[str]()
    worker = runner(said)
    assert worker.work() is None
    assert states(queue) == {1: "done", 2: "done"}
    assert [job.number for job in worker.done] == [1, 2]
    assert [len(lines(Path(job.run_dir, "ended"))) for job in jobs] == [1, 1]
    assert not (queue.path.parent / "overlaps").exists()  # neither job beside the stage that the other left
    assert any("what it started ends its step and saves: pids" in line for line in said)
    assert runner().work() is None
    assert len(lines(Path(jobs[0].run_dir, "starts"))) == 1


def test_failing_jobs_are_tried_again_after_the_others_then_parked(queue: Queue, put: Put, runner: MakeRunner) -> None:
    for name in ("fails", "crashes", "good"):
        put(name)
    said: list[str] = []
    worker = runner(said)
    assert worker.work() is None
    order = [line.split()[1] for line in begins(said)]
    assert order == ["1", "2", "3", "1", "2"]
    assert states(queue) == {1: "failed", 2: "failed", 3: "done"}
    assert queue.require(1).reason == "exit code 7: stage stage1 failed; got a fault on purpose"
    assert queue.require(2).reason == "signal SIGKILL"
    assert [job.number for job in worker.parked] == [1, 2]
    said.clear()
    assert runner(said).work() is None  # never again by themselves
    assert begins(said) == []
    retry(queue, [1])
    runner(said).work()
    assert begins(said) == ["job 1 (fails) begins"] * 2


def test_ctrl_c_stops_the_job_and_the_queue_and_the_next_start_goes_on_with_it(
    queue: Queue, put: Put, runner: MakeRunner
) -> None:
    first, said = put("slow"), list[str]()
    put("good")
    when_it_works(first, lambda: os.kill(os.getpid(), signal.SIGINT))
    stop = runner(said).work()
    assert stop is not None
    assert stop.kind == "asked"
    assert states(queue) == {1: "waiting", 2: "waiting"}
    assert queue.require(1).reason == "you stopped it"
    assert 0 < len(lines(Path(first.run_dir, "steps"))) < 500
    put("good")
    said.clear()
    when_it_works(first, lambda: pause(queue, "now"))
    runner(said).work()
    assert begins(said) == ["job 1 (slow) begins"]
    assert "asked to pause" in (queue.require(1).reason or "")


def test_a_pause_after_the_job_lets_it_end(queue: Queue, put: Put, runner: MakeRunner) -> None:
    first = put("good")
    put("good")
    when_it_works(first, lambda: pause(queue, "after this job"))
    stop = runner().work()
    assert stop is not None
    assert "asked to pause" in stop.why
    assert states(queue) == {1: "done", 2: "waiting"}
    assert runner().work() is None  # what was asked of that runner is not for this one
    assert states(queue) == {1: "done", 2: "done"}


def test_a_cancelled_job_leaves_and_the_next_one_starts(queue: Queue, put: Put, runner: MakeRunner) -> None:
    first = put("slow")
    put("good")
    when_it_works(first, lambda: cancel(queue, [1]))
    assert runner().work() is None
    assert states(queue) == {2: "done"}
    assert 0 < len(lines(Path(first.run_dir, "steps"))) < 500  # what it made stays


def test_at_its_time_the_job_is_stopped_and_none_starts(queue: Queue, put: Put, runner: MakeRunner) -> None:
    first, now_s = put("slow"), [0.0]
    put("good")
    when_it_works(first, lambda: now_s.__setitem__(0, 100.0))
    stop = runner(hours=Hours(until_s=50.0, clock=lambda: now_s[0])).work()
    assert stop is not None
    assert stop.kind == "over"
    assert states(queue) == {1: "waiting", 2: "waiting"}


def test_below_the_battery_level_the_job_waits_and_goes_on_by_itself(
    queue: Queue, put: Put, runner: MakeRunner
) -> None:
    first, charge, said = put("good"), [80.0], list[str]()
    when_it_works(first, lambda: charge.__setitem__(0, 20.0))

    def read() -> PowerReading:
        if any("waiting: the battery" in line for line in said):
            charge[0] = 90.0
        return PowerReading(charge[0], None)

    assert runner(said, Hours(min_battery_percent=30, read=read)).work() is None
    assert begins(said) == ["job 1 (good) begins"] * 2
    assert states(queue) == {1: "done"}


def test_a_second_runner_is_refused_by_name(queue: Queue, put: Put, runner: MakeRunner) -> None:
    first, refusals = put("slow"), list[str]()

    def second() -> None:
        done = subprocess.run(
            [sys.executable, "-m", "fake_runner", str(queue.path)], capture_output=True, text=True, check=False
        )
        refusals.append(f"{done.returncode} {done.stdout}")
        cancel(queue, [1])

    thread = when_it_works(first, second)
    runner().work()
    thread.join()
    assert refusals[0].startswith(f"9 the queue {queue.path} is in use; got pid {os.getpid()} on ")
    assert len(lines(Path(first.run_dir, "starts"))) == 1


def test_of_four_runners_at_once_one_works_the_queue(queue: Queue, put: Put) -> None:
    jobs = [put("good") for _ in range(2)]
    command = [sys.executable, "-m", "fake_runner", str(queue.path)]
    runners = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for one in runners:
        one.communicate()
    assert 0 in {one.returncode for one in runners}
    assert {one.returncode for one in runners} <= {0, RunDirectoryBusyError.exit_code}
    assert [len(lines(Path(job.run_dir, "starts"))) for job in jobs] == [1, 1]
    assert not (queue.path.parent / "overlaps").exists()


def test_a_run_directory_in_use_is_waited_for(queue: Queue, put: Put, runner: MakeRunner) -> None:
    job, said = put("good"), list[str]()

    def let_go() -> None:
        while not any("is in use by pid" in line for line in said):
            time.sleep(0.01)
        free.set()

    free = threading.Event()

    def hold() -> None:
        with owning(RunDirectory(Path(job.run_dir))):
            held.set()
            free.wait()

    held = threading.Event()
    threads = [threading.Thread(target=hold), threading.Thread(target=let_go)]
    for thread in threads:
        thread.start()
    held.wait()
    assert runner(said).work() is None
    assert begins(said) == ["job 1 (good) begins"]
    assert states(queue) == {1: "done"}


def test_what_does_not_end_by_itself_is_ended_and_named(
    queue: Queue, put: Put, runner: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "REST_S", 0.5)
    job = put("deaf")
    said: list[str] = []
    runner(said).work()
    assert states(queue) == {1: "done"}
    assert any("left pids" in line and "they were ended" in line for line in said)
    assert not is_owned(RunDirectory(Path(job.run_dir)))  # its stage held that
