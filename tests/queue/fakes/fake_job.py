"""`python -m fake_job NAME RUN_DIR`: a run without networks, which goes on from its last step and leaves a stage.

What its name begins with says how it does: `good`; `fails`, with a message; `crashes`, without; `slow`, with many
steps; `deaf`, whose stage does not end by itself. A lock beside the run directories is held by it and by its stage:
who cannot take it has found two jobs at work at once.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sana_wm.errors import InterruptedRunError, SanaWMError, StageFailedError
from sana_wm.progress.run_record import RunEnd, RunStart
from sana_wm.progress.snapshot import RunError
from sana_wm.runs.lock import owning
from sana_wm.runs.run_directory import RunDirectory

STEP_S = 0.02


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    alone = os.open(folder.parent / "alone", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note(folder.parent / "overlaps", name)
    run = RunDirectory(folder)
    try:
        with owning(run) as lock:
            RunStart(started_at_s=time.time(), actions={"stage1": "run"}).write(run)
            note(folder / "starts", str(os.getpid()))
            # Until this process is gone, then for as long as it takes to save.
            stage = f"cat; exec sleep {60 if name.startswith('deaf') else 0.4}"
            held = (alone, lock.lock)
            subprocess.Popen(["sh", "-c", stage], stdin=subprocess.PIPE, pass_fds=held, start_new_session=True)
            try:
                work(name, folder, asked)
            except SanaWMError as error:
                stopped = isinstance(error, InterruptedRunError)
                told = RunError(str(error), error.exit_code)
                RunEnd.of(run, time.time(), "interrupted" if stopped else "failed", told).write(run)
                raise
            RunEnd.of(run, time.time(), "finished", None).write(run)
    except SanaWMError as error:
        sys.stderr.write(f"sana-wm: {error}\n")
        sys.exit(error.exit_code)


def work(name: str, folder: Path, asked: list[int]) -> None:
    """Do what is left of the steps; the last one is the end, which is made once."""
    steps, ended = folder / "steps", folder / "ended"
    if ended.exists():
        return
    for _ in range(len(lines(steps)), 500 if name.startswith("slow") else 15):
        time.sleep(STEP_S)
        note(steps, "step")
        if asked:
            raise InterruptedRunError("stopped in stage stage1, saved")
    if name.startswith("fails"):
        raise StageFailedError("stage stage1 failed", got="a fault on purpose")
    if name.startswith("crashes"):
        os.kill(os.getpid(), signal.SIGKILL)
    note(ended, str(os.getpid()))


def note(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
