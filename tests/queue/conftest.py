"""A queue whose jobs are fakes: real processes, without networks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_runner import fake_command
from sana_wm.queue.folder import Queue
from sana_wm.queue.hours import Hours
from sana_wm.queue.job import Expectation, Job, JobOptions
from sana_wm.queue.runner import Runner

FAKES = Path(__file__).parent / "fakes"


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """An empty queue, in which fakes can be run."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKES), *filter(None, [os.getenv("PYTHONPATH")])]))
    return Queue(tmp_path / "runs" / "queue")


@pytest.fixture
def put(queue: Queue) -> Callable[..., Job]:
    """Add a job that behaves as its name says."""

    def add(name: str, expected_s: float | None = 1.0) -> Job:
        with queue.changing():
            run_dir = str(queue.path.parent / f"{name}-{len(queue.jobs())}")
            return queue.new_job(name, run_dir, "{}", Expectation(expected_s), JobOptions())

    return add


@pytest.fixture
def runner(queue: Queue) -> Callable[..., Runner]:
    """A runner of that queue; what it says is kept in `said`."""

    def make(said: list[str] | None = None, hours: Hours | None = None) -> Runner:
        kept = [] if said is None else said
        return Runner(queue, hours or Hours(), say=kept.append, command=fake_command)

    return make
