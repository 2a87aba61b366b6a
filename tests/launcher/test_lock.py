"""One process owns a run directory."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from sana_wm.errors import (
    HandoffError,
    RunDirectoryBusyError,
)
from sana_wm.runs.lock import owning
from sana_wm.runs.run_directory import RunDirectory


def test_of_twenty_processes_at_once_one_owns_the_directory(run: RunDirectory) -> None:
    """Forked, so that all are ready at the same moment; as whole commands in tests/pipeline/test_refusals.py."""
    context = multiprocessing.get_context("fork")
    ready, done = context.Barrier(20), context.Barrier(20)
    codes = context.SimpleQueue()

    def own() -> None:
        ready.wait()
        try:
            with owning(run):
                codes.put(0)
                done.wait()
        except RunDirectoryBusyError as error:
            codes.put(error.exit_code)
            done.wait()

    processes = [context.Process(target=own) for _ in range(20)]
    for process in processes:
        process.start()
    found = sorted(codes.get() for _ in processes)
    for process in processes:
        process.join()
    assert found == [0] + [9] * 19


def test_a_lock_file_that_is_a_link_is_not_followed(run: RunDirectory, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    run.lock_file.unlink()
    run.lock_file.symlink_to(precious)
    with pytest.raises(HandoffError, match="cannot be owned"), owning(run):
        pass
    assert precious.read_text() == "precious"


def test_a_directory_in_use_is_refused_with_its_owner(run: RunDirectory) -> None:
    with (
        owning(run),
        pytest.raises(RunDirectoryBusyError, match=f"pid {os.getpid()} on ") as caught,
        owning(RunDirectory(run.path)),
    ):
        pass
    assert caught.value.exit_code == 9


def test_a_folder_that_libraries_cannot_open_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"x\xff")
    with pytest.raises(HandoffError, match="not UTF-8"), owning(RunDirectory(folder / "run")):
        pass
    assert not folder.exists()
