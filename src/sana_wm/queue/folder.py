"""The queue's folder: a folder for each job, files that are whole or not there, every change under a lock.

`NUMBER/manifest.json` is written before `NUMBER/job.json` and removed after it: a job is there when its `job.json` is.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import filelock

from sana_wm.durable import make_folder, remove_file, remove_parts_in, remove_tree, write_durably
from sana_wm.errors import RunDirectoryBusyError, UsageError
from sana_wm.queue.job import Expectation, Job, JobOptions, in_order
from sana_wm.records import Count, Record, read_record
from sana_wm.runs.lock import is_owned
from sana_wm.runs.run_directory import RunDirectory

#: A change takes milliseconds; who waits so long waits for a process that is suspended, or for a volume that hangs.
CHANGE_WITHIN_S = 30.0
#: What a runner is asked for from another terminal.
Stop = Literal["now", "after this job"]


class QueueRecord(Record):
    """What holds for the whole queue.

    Attributes:
        last_number: The last that a job got; a number is never given twice.
        stop: What its runner is asked for.
    """

    last_number: Count = 0
    stop: Stop | None = None


@dataclass(frozen=True)
class Queue:
    """A queue; making one touches no file.

    Attributes:
        path: Its folder.
    """

    path: Path

    @property
    def as_owned(self) -> RunDirectory:
        """The folder as `sana_wm.runs.lock` takes one: its runner owns it as a run is owned."""
        return RunDirectory(self.path)

    def folder(self, number: int) -> Path:
        """A job's folder."""
        return self.path / f"{number:04d}"

    def manifest_file(self, number: int) -> Path:
        """What a job runs: a copy that nobody edits."""
        return self.folder(number) / "manifest.json"

    def job_file(self, number: int) -> Path:
        """What a job is and what became of it."""
        return self.folder(number) / "job.json"

    def log_file(self, number: int) -> Path:
        """What its starts said."""
        return self.folder(number) / "job.log"

    @property
    def record_file(self) -> Path:
        """What holds for the whole queue."""
        return self.path / "queue.json"

    def record(self) -> QueueRecord:
        """What holds for the whole queue now."""
        found = read_record(self.record_file, QueueRecord)
        # Without it, or with a damaged one, no number may be given again all the same.
        return found or QueueRecord(last_number=max(self._numbers(), default=0))

    def jobs(self) -> list[Job]:
        """All jobs, in the order in which people want to see them."""
        found = (self.find(number) for number in self._numbers())
        return in_order(job for job in found if job is not None)

    def find(self, number: int) -> Job | None:
        """A job; `None` when there is none of that number. One whose file is damaged is parked, not lost."""
        job = read_record(self.job_file(number), Job)
        if job is not None or not self.job_file(number).exists():
            return job
        reason = f"{self.job_file(number)} cannot be read: take the job out (cancel) and add its manifest.json again"
        return Job(number=number, name="?", run_dir="", state="failed", turn=0, added_at_s=0.0, reason=reason)

    def require(self, number: int) -> Job:
        """A job.

        Raises:
            UsageError: There is none of that number.
        """
        if (job := self.find(number)) is None:
            numbers = ", ".join(str(one) for one in sorted(job.number for job in self.jobs()))
            raise UsageError(f"the queue {self.path} has no job {number}", expected=numbers or "one that was added")
        return job

    @contextmanager
    def changing(self) -> Generator[None]:
        """Change the queue while the block runs; everybody else who wants to waits.

        Raises:
            RunDirectoryBusyError: Somebody else has been changing it for long.
        """
        make_folder(self.path)
        try:
            with filelock.FileLock(self.path / ".changes", timeout=CHANGE_WITHIN_S):
                yield
        except filelock.Timeout as error:
            raise RunDirectoryBusyError(
                f"the queue {self.path} is being changed",
                got=f"another command that has been at it for {CHANGE_WITHIN_S:.0f} s",
                expected="a command that is through in a moment",
                next_step="Is one suspended (fg), or does the volume hang? Then run this command again.",
            ) from error

    # What follows is for inside of `changing`.

    def write(self, job: Job) -> Job:
        """Keep what became of a job."""
        write_durably(self.job_file(job.number), job.model_dump_json(indent=2) + "\n")
        return job

    def ask(self, stop: Stop | None) -> None:
        """Ask the runner to stop, or not any more."""
        self._write_record(self.record().model_copy(update={"stop": stop}))

    def new_number(self) -> int:
        """A number that no job had."""
        record = self.record()
        number = max(record.last_number, *self._numbers(), 0) + 1
        self._write_record(record.model_copy(update={"last_number": number}))
        return number

    def last_turn(self) -> int:
        """The last turn that is given."""
        return max((job.turn for job in self.jobs()), default=0)

    def new_job(self, name: str, run_dir: str, manifest: str, expected: Expectation, options: JobOptions) -> Job:
        """Put a job behind all others; arguments as of `Job`, with its manifest as JSON."""
        job = Job(
            number=self.new_number(),
            name=name,
            run_dir=run_dir,
            turn=self.last_turn() + 1,
            added_at_s=time.time(),
            options=options,
        )
        write_durably(self.manifest_file(job.number), manifest)
        return self.write(job.expecting(expected))

    def remove(self, job: Job) -> None:
        """Take a job out; its run stays."""
        remove_file(self.job_file(job.number))
        remove_tree(self.folder(job.number))

    def sweep(self) -> None:
        """Remove what killed commands left: temporary files, folders that became no job or are none any more."""
        remove_parts_in(self.path)
        for number in self._numbers():
            if self.job_file(number).exists():
                remove_parts_in(self.folder(number))
            else:
                remove_tree(self.folder(number))

    def is_worked(self) -> bool:
        """Whether there is a runner, or a job that a killed one left and that is saving."""
        return is_owned(self.as_owned)

    def _numbers(self) -> list[int]:
        with contextlib.suppress(OSError):
            return [int(path.name) for path in self.path.iterdir() if path.name.isdecimal() and path.is_dir()]
        return []

    def _write_record(self, record: QueueRecord) -> None:
        write_durably(self.record_file, record.model_dump_json(indent=2) + "\n")
