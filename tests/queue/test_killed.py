"""Runners and jobs that are killed: no job is lost, none runs to its end twice, none is passed over."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from fake_job import lines
from sana_wm.queue.folder import Queue
from sana_wm.queue.job import Job
from sana_wm.queue.requests import retry

Put = Callable[..., Job]


def start(queue: Queue) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fake_runner", str(queue.path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until_it_works(job: Job, more_than: int = 5) -> None:
    while len(lines(Path(job.run_dir, "steps"))) < more_than:
        time.sleep(0.01)


def kill(process: subprocess.Popen[str], target: str) -> None:
    """End the runner, its job, or both, at once."""
    root = psutil.Process(process.pid)
    jobs = [one for one in root.children() if "sana_wm.tether" in one.cmdline()]
    for victim in {"runner": [root], "job": jobs, "both": [root, *jobs]}[target]:
        victim.kill()


def test_a_job_that_saves_after_its_runner_is_gone_is_innocent_and_goes_on(queue: Queue, put: Put) -> None:
    job = put("slow")
    for _ in range(3):  # more often than a job may fail
        runner = start(queue)
        until_it_works(job, len(lines(Path(job.run_dir, "steps"))) + 3)
        kill(runner, "runner")
        runner.communicate()
    again = start(queue)
    until_it_works(job, len(lines(Path(job.run_dir, "steps"))) + 3)
    now = queue.require(1)
    assert (now.state, now.failures) == ("running", 0)
    again.send_signal(signal.SIGINT)
    assert again.wait() == 130
    assert queue.require(1).state == "waiting"
    assert not (queue.path.parent / "overlaps").exists()


def test_a_job_that_takes_its_runner_down_is_parked_at_the_second_time(queue: Queue, put: Put) -> None:
    """As one that takes the whole machine down: it must not do so at every start of the queue."""
    bad = put("slow")
    put("good")
    for _ in range(2):
        runner = start(queue)
        until_it_works(bad, len(lines(Path(bad.run_dir, "steps"))) + 3)
        kill(runner, "both")
        runner.communicate()
    output, _ = start(queue).communicate()
    assert "job 1 (slow) failed again and is parked: it and its runner ended without a word" in output
    assert {job.number: job.state for job in queue.jobs()} == {1: "failed", 2: "done"}


def test_a_handful_of_kills_loses_nothing_and_runs_nothing_twice(queue: Queue, put: Put) -> None:
    jobs, dice = [put("good") for _ in range(3)], random.Random(19)
    for target in ("runner", "job", "both", "runner"):
        runner = start(queue)
        deadline_s = time.monotonic() + dice.uniform(0.0, 0.6)
        while runner.poll() is None and not psutil.Process(runner.pid).children():
            time.sleep(0.01)
        time.sleep(max(0.0, deadline_s - time.monotonic()))
        if runner.poll() is None:
            kill(runner, target)
            if target == "job":
                runner.send_signal(signal.SIGINT)
        runner.communicate()
        assert len(queue.jobs()) == len(jobs)
    for _ in range(2):
        start(queue).communicate()
        if parked := [job.number for job in queue.jobs() if job.state == "failed"]:
            retry(queue, parked)
    assert {job.state for job in queue.jobs()} == {"done"}
    assert [len(lines(Path(job.run_dir, "ended"))) for job in jobs] == [1, 1, 1]
    assert not (queue.path.parent / "overlaps").exists()
    assert not [
        one for one in psutil.process_iter(["cmdline"]) if str(queue.path.parent) in " ".join(one.info["cmdline"] or [])
    ]
