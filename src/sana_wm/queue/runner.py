"""Works a queue: one job at a time, each in processes of its own, until nothing waits or it shall stop."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sana_wm.errors import InterruptedRunError, RunDirectoryBusyError
from sana_wm.launcher.job_process import JobProcess
from sana_wm.launcher.power import keep_awake_command, kept_awake
from sana_wm.launcher.supervisor import StopRequests
from sana_wm.progress.snapshot import RunSnapshot
from sana_wm.queue.aftermath import left_by_killed_runner, read_reason
from sana_wm.queue.folder import Queue
from sana_wm.queue.hours import Hours
from sana_wm.queue.job import Job
from sana_wm.queue.watching import JobWatch
from sana_wm.runs.lock import Ownership, is_owned, owning, read_owner
from sana_wm.runs.run_directory import RunDirectory

LOOK_EVERY_S = 0.5
#: How long what a killed job started may go on saving before it is ended: a step of Stage 1 takes minutes.
REST_S = 600.0
#: What runs a job: a module and its arguments. Tests run jobs of their own.
Command = Callable[[Queue, Job], list[str]]


def run_command(queue: Queue, job: Job) -> list[str]:
    """How a job is run: as its manifest would be by hand. What is there already is gone on with."""
    return ["sana_wm", "run-pipeline", str(queue.manifest_file(job.number)), *job.options.as_arguments()]


@dataclass(frozen=True)
class Stop:
    """Why no job works any more.

    Attributes:
        why: In words.
        kind: `asked`: somebody wants the queue to stop. `over`: its time is. `pause`: it goes on by itself. `job`: this
            job shall leave, and the next one start.
    """

    why: str
    kind: Literal["asked", "over", "pause", "job"]

    @property
    def ends_queue(self) -> bool:
        """Whether the runner ends, too."""
        return self.kind in ("asked", "over")


@dataclass
class Runner:
    """One runner of a queue.

    Attributes:
        queue: The queue.
        hours: When it works.
        say: Takes a line for people.
        show: Shown the run of the job that works, twice a second.
        command: How a job is run.
        done: Jobs that ended well.
        parked: Jobs that were parked.
    """

    queue: Queue
    hours: Hours = field(default_factory=Hours)
    say: Callable[[str], None] = lambda _: None
    show: Callable[[RunSnapshot], None] = lambda _: None
    command: Command = run_command
    done: list[Job] = field(default_factory=list[Job])
    parked: list[Job] = field(default_factory=list[Job])

    def __post_init__(self) -> None:
        self._stops = StopRequests()

    def work(self) -> Stop | None:
        """Work the queue.

        Returns:
            Why it stopped; `None` when nothing waits any more.

        Raises:
            RunDirectoryBusyError: Another runner works it.
            InterruptedRunError: It was stopped while a job that a killed runner had left was still saving.
            MemoryNotReleasedError: Processes of a job do not end; no other job is started beside them.
            HandoffError: The queue cannot be read or written.
        """
        awake = kept_awake(keep_awake_command(os.getpid()), self.say)
        with self._stops.listening(), self._owning() as lock, awake:
            self._take_over()
            while True:
                stop = self._why_stop()
                if stop is not None and not stop.ends_queue:
                    stop = self._wait_for_hours(stop)
                if stop is not None or (job := self._take()) is None:
                    return stop
                self._work_on(job, lock)

    @contextmanager
    def _owning(self) -> Generator[Ownership]:
        """Own the queue: at once, or when the job of a runner that is gone has saved: it keeps the lock until then."""
        told = False
        while is_owned(self.queue.as_owned):
            owner = read_owner(self.queue.as_owned)
            if owner is None or owner.lives() or owner.is_elsewhere():
                break  # refused below
            if self._stops.count:
                raise InterruptedRunError("stopped before a job began", next_step="Go on with: sana-wm queue run")
            if not told:
                self.say(f"the last runner is gone ({owner}); its job ends its step and saves")
                told = True
            time.sleep(LOOK_EVERY_S)
        with contextlib.ExitStack() as stack:
            try:
                lock = stack.enter_context(owning(self.queue.as_owned))
            except RunDirectoryBusyError as error:
                raise RunDirectoryBusyError(
                    f"the queue {self.queue.path} is in use",
                    got=error.got,
                    expected="one runner",
                    next_step="It takes what you add: sana-wm queue list says where it is, queue pause stops it.",
                ) from None
            yield lock

    def _take_over(self) -> None:
        """Put in order what a killed runner left; what was asked of that one is not for this one."""
        with self.queue.changing():
            self.queue.sweep()
            self.queue.ask(None)
            for job in self.queue.jobs():
                if job.state == "running":
                    self._settle(left_by_killed_runner(job, time.time(), self.queue.last_turn()))

    def _take(self) -> Job | None:
        """The next job, running from now on; `None` when none waits."""
        with self.queue.changing():
            waiting = next((job for job in self.queue.jobs() if job.state == "waiting"), None)
            return None if waiting is None else self.queue.write(waiting.begun(time.time()))

    def _why_stop(self, job: Job | None = None, *, waiting: bool = False) -> Stop | None:
        """Why no job, or not this one, may work now; `None` while one may.

        Args:
            job: The one that works.
            waiting: Whether none works already because of the hours.
        """
        if self._stops.count:
            return Stop("you stopped it", "asked")
        asked = self.queue.record().stop
        if asked == "now" or (asked is not None and job is None):
            return Stop("it was asked to pause (sana-wm queue pause)", "asked")
        if (why := self.hours.why_over()) is not None:
            return Stop(why, "over")
        if job is not None and ((now := self.queue.find(job.number)) is None or now.is_cancelled):
            return Stop("it was cancelled", "job")
        why = self.hours.why_wait(waiting=waiting)
        return None if why is None else Stop(why, "pause")

    def _wait_for_hours(self, stop: Stop) -> Stop | None:
        """Wait until jobs may work again; what ends the queue meanwhile, if something does."""
        self.say(f"waiting: {stop.why}")
        while (now := self._why_stop(waiting=True)) is not None and not now.ends_queue:
            self._suspend_if_asked()
            time.sleep(LOOK_EVERY_S)
        return now

    def _work_on(self, job: Job, lock: Ownership) -> None:
        """Run a job until nothing of it is left, and keep what became of it."""
        run = RunDirectory(Path(job.run_dir))
        if (stop := self._wait_until_free(run, job)) is not None:
            self._settle_as(job, lambda now: now.stopped(stop.why, time.time()))
            return
        log = self.queue.log_file(job.number)
        start = log.stat().st_size if log.exists() else 0
        watch = JobWatch(run, job.begun_at_s or 0.0, self.show)
        self.say(f"{job} begins; log {log}")
        process = JobProcess(self.command(self.queue, job), log, (lock.lock,))
        try:
            code, stop = self._watch(process, watch, job)
            self._let_rest_end(process, run, job)
        finally:
            killed = process.kill()
            process.close()
        if killed:
            self.say(f"{job} left pids {killed} behind; they were ended")
        now_s = time.time()
        if code == 0:
            self._settle_as(job, lambda now: now.done(now_s))
        elif stop is not None and code in (InterruptedRunError.exit_code, -signal.SIGTERM):
            self._settle_as(job, lambda now: now.stopped(stop.why, now_s, watch.left))
        else:
            reason = read_reason(log, start, code)
            self._settle_as(job, lambda now: now.failed(reason, now_s, self.queue.last_turn()))

    def _wait_until_free(self, run: RunDirectory, job: Job) -> Stop | None:
        """Wait while somebody else works in a job's run directory; why it shall not start any more, if so."""
        if is_owned(run):
            self.say(f"{job} waits: {run.path} is in use by {read_owner(run)}")
        while is_owned(run):
            if (stop := self._why_stop(job)) is not None:
                return stop
            self._suspend_if_asked()
            time.sleep(LOOK_EVERY_S)
        return None

    def _suspend_if_asked(self) -> bool:
        """Stop where this is when Ctrl-Z was pressed, until the shell's `fg` or `bg`; whether it was."""
        if not self._stops.pause:
            return False
        os.kill(os.getpid(), signal.SIGSTOP)
        self._stops.pause = False
        return True

    def _watch(self, process: JobProcess, watch: JobWatch, job: Job) -> tuple[int, Stop | None]:
        """Wait until a job has ended: its exit code, and why it was asked to stop, if it was."""
        stop, was_suspended, is_asked_again = None, False, False
        while (code := process.wait(LOOK_EVERY_S)) is None:
            if self._stops.pause:
                process.suspend()
            was_suspended |= self._suspend_if_asked()
            if was_suspended:  # again and again: it may have taken its time to stop
                process.go_on()
            if stop is None and (stop := self._why_stop(job)) is not None:
                self.say(f"{job}: {stop.why}; it ends its step and saves")
                process.ask_to_stop()
            if self._stops.count > 1 and not is_asked_again:
                is_asked_again = True
                process.ask_again()
            watch.look()
        return code, stop

    def _let_rest_end(self, process: JobProcess, run: RunDirectory, job: Job) -> None:
        """Let what a job left save and end by itself: a stage whose parent was killed ends its step."""
        until_s = time.monotonic() + REST_S
        told = False
        while (left := process.left_behind()) or _is_left_owned(run, process.pid):
            if self._stops.count > 1 or time.monotonic() > until_s:
                return
            if not told:
                self.say(f"{job} ended; what it started ends its step and saves: pids {left}")
                told = True
            time.sleep(LOOK_EVERY_S)

    def _settle_as(self, job: Job, change: Callable[[Job], Job]) -> None:
        """Keep what became of a job, from what its file says now."""
        with self.queue.changing():
            self._settle(change(self.queue.find(job.number) or job.model_copy(update={"is_cancelled": True})))

    def _settle(self, job: Job) -> None:
        before = self.queue.find(job.number)
        if job.is_cancelled:
            self.queue.remove(job)
            self.say(f"{job} is out of the queue; what it made stays in {job.run_dir}")
            return
        self.queue.write(job)
        if job.state == "done":
            self.done.append(job)
            self.say(f"{job} is done, nothing of it runs any more: {job.run_dir}")
        elif job.state == "failed":
            self.parked.append(job)
            self.say(f"{job} failed again and is parked: {job.reason}")
        elif before is not None and job.failures > before.failures:
            self.say(f"{job} failed; one more try when the others had their turn: {job.reason}")
        else:
            self.say(f"{job} waits to go on: {job.reason}")


def _is_left_owned(run: RunDirectory, pid: int) -> bool:
    """Whether a stage that nobody has seen still holds the run directory that a job took."""
    return is_owned(run) and (owner := read_owner(run)) is not None and owner.pid == pid
