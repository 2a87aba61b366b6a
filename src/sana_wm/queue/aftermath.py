"""What became of a job, read off what it left: its log, and what its run says of its last start."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from sana_wm.errors import printable
from sana_wm.plain_files import open_plain
from sana_wm.progress.run_record import RunEnd, RunStart
from sana_wm.queue.job import Job
from sana_wm.runs.run_directory import RunDirectory

#: The end of a log holds the error; progress before it can be long.
TAIL_BYTES = 64 * 1024
VANISHED = "it and its runner ended without a word: killed, or the machine went down"


def read_reason(log: Path, start: int, code: int) -> str:
    """Why a job failed, in words.

    Args:
        log: What it said.
        start: Where in it this start began.
        code: Its exit code, negative for a signal.
    """
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    with open_plain(log) as file:
        size = file.seek(0, 2)
        file.seek(max(start, size - TAIL_BYTES))
        text = file.read().decode(errors="replace").strip()
    _, *messages = re.split(r"^sana-wm: ", f"\n{text}", flags=re.MULTILINE)
    said = messages[-1] if messages else text.rpartition("\n")[2]  # of a traceback its last line
    return printable(f"{how}: {said.strip()}" if said else how)


def left_by_killed_runner(job: Job, now_s: float, last_turn: int) -> Job:
    """A job that a killed runner left running, as it is now that nothing of it runs any more.

    A job that noticed the end of its runner, saved and said so is innocent and keeps its turn. Of one that ended
    without a word nobody knows whether it took the machine down with it: that is a failure.

    Args:
        job: The job.
        now_s: Wall clock.
        last_turn: The last turn that is given.
    """
    run = RunDirectory(Path(job.run_dir))
    start = RunStart.read(run)
    if start is None or start.started_at_s < (job.begun_at_s or 0.0):
        return job.stopped("its runner ended before its first stage began", now_s)
    end = RunEnd.read(run)
    if end is None:
        return job.failed(VANISHED, now_s, last_turn)
    if end.state == "failed":
        return job.failed(end.error.message if end.error else "it failed", now_s, last_turn)
    return job.stopped("its runner was ended", now_s)  # if it was finished, its next start finds that
