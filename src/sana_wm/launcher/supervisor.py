"""Watches one stage: passes its events on, samples its memory, stops it over the cap or when the user asks."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from sana_wm.errors import (
    HandoffError,
    InterruptedRunError,
    MemoryCapError,
    MemoryNotReleasedError,
    SanaWMError,
    SanityError,
    StageFailedError,
    UsageError,
    WeightsError,
)
from sana_wm.launcher.governor import MemoryLimits, Verdict, gib
from sana_wm.launcher.memory_watch import MemoryLog, MemoryWatch
from sana_wm.launcher.power import ClockWatch
from sana_wm.launcher.probes.cards import cards_used_bytes
from sana_wm.launcher.probes.memory_kills import count_memory_kills, was_killed_for_memory
from sana_wm.launcher.probes.process import group_bytes
from sana_wm.launcher.probes.system import read_system_memory
from sana_wm.launcher.process import GRACE_S, StageProcess
from sana_wm.launcher.view import View
from sana_wm.names import Stage
from sana_wm.planning.device import Device
from sana_wm.planning.suggestions import Overrun
from sana_wm.progress.memory import MemorySample
from sana_wm.progress.stage_progress import StageProgress
from sana_wm.runs.events import DeviceFacts, DeviceUse, Event, StageFailed, StageStart
from sana_wm.runs.lock import SUSPENDED
from sana_wm.runs.receipts import ProcessRecord
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.unfinished import is_unfinished

SAMPLE_EVERY_S = 0.25
#: A request so soon after the first is the same one.
AGAIN_S = 0.5
#: From what was seen over the cap to what the user can change.
Suggest = Callable[[Overrun], str]

_ERRORS: dict[int, type[SanaWMError]] = {
    kind.exit_code: kind
    for kind in (UsageError, WeightsError, HandoffError, MemoryCapError, MemoryNotReleasedError, SanityError)
}


class StopRequests:
    """Counts how often the user asked to stop: once saves first, twice ends at once.

    Only who asks again, with Ctrl-C or SIGTERM, wants the end at once. Closing the window of a run that is saving
    already is no second wish, and neither is one Ctrl-C that comes twice, from the terminal and from a parent.

    Attributes:
        count: How often.
        pause: Whether Ctrl-Z was pressed: the stage, which has a session of its own, does not hear it.
    """

    def __init__(self) -> None:
        self.count = 0
        self.pause = False
        self._first_at_s = 0.0

    @contextlib.contextmanager
    def listening(self) -> Generator[None]:
        """Take SIGINT, SIGTERM, SIGHUP (a closed terminal) and SIGTSTP (Ctrl-Z) as requests while the block runs."""
        wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
        # What the parent of this process set to be ignored stays ignored: that is how nohup works.
        numbers = [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]
        before = [signal.signal(number, self._on_signal) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: object) -> None:
        now_s = time.monotonic()
        if number == signal.SIGTSTP:
            self.pause = True
        elif not self.count:
            self.count, self._first_at_s = 1, now_s
        elif number != signal.SIGHUP and now_s - self._first_at_s >= AGAIN_S:
            self.count += 1


@dataclass
class _Watch:
    """What was seen of a stage so far."""

    kills_before: int | None = None
    peak_process_bytes: int | None = None
    peak_device_bytes: int | None = None
    device_bytes: int | None = None
    device_limit_bytes: int | None = None
    device: Device | None = None
    error: StageFailed | None = None
    over_cap: str | None = None
    asked_at_s: float | None = None

    def take(self, event: Event) -> None:
        match event:
            case StageFailed():
                self.error = event
            case StageStart(device_facts=DeviceFacts() as facts):
                self.device = Device(**facts.model_dump())
                self.device_limit_bytes = event.device_limit_bytes
            case DeviceUse(device_bytes=int(device_bytes)):
                self.device_bytes = device_bytes
                self.peak_device_bytes = max(self.peak_device_bytes or 0, device_bytes)
            case _:
                pass

    def see(self, sample: MemorySample) -> None:
        if sample.process_bytes is not None:
            self.peak_process_bytes = max(self.peak_process_bytes or 0, sample.process_bytes)

    @property
    def peak_bytes(self) -> int:
        return max(self.peak_process_bytes or 0, self.peak_device_bytes or 0)


def supervise(
    process: StageProcess,
    run: RunDirectory,
    stage: Stage,
    limits: MemoryLimits,
    stops: StopRequests,
    view: View,
    suggest: Suggest,
) -> tuple[ProcessRecord, Device | None]:
    """Watch a stage until it is gone.

    Args:
        process: The stage.
        run: Its run directory; what is seen of memory goes into `events/memory.jsonl`.
        stage: Its name.
        limits: What it is held to.
        stops: What the user asks for meanwhile.
        view: Shows the run.
        suggest: Says what to change when it was stopped over the cap.

    Returns:
        What the system saw of the process, and the device that the stage said it works on.

    Raises:
        SanaWMError: Of the class that the stage's exit code names; `MemoryCapError` when it was stopped over the cap,
            `InterruptedRunError` when the user stopped it, `MemoryNotReleasedError` when it left a process behind.
    """
    progress = StageProgress(stage, started_s=time.monotonic())
    view.stage_started(progress)
    watch = _Watch(kills_before=count_memory_kills())
    memory = MemoryWatch(process.members, MemoryLog(run.memory_file, stage))
    before = (read_system_memory(), cards_used_bytes())
    clock = ClockWatch()
    while (code := process.wait(SAMPLE_EVERY_S)) is None:
        _note_idle(process, clock, stops, view)
        _take_events(process, watch, progress)
        progress.sample, verdict = memory.look(watch.device_bytes, watch.device_limit_bytes, limits)
        watch.see(progress.sample)
        view.updated(progress)
        _act(verdict, process, watch, progress, stops, view)
    _take_events(process, watch, progress)
    if code == -signal.SIGTERM and process.asked_to_stop:  # before it could listen, so before it had anything to save
        code = InterruptedRunError.exit_code
    left_behind = process.kill()
    if code == -signal.SIGKILL and watch.asked_at_s is None and was_killed_for_memory(process.pid, watch.kills_before):
        raise _want_of_memory(watch, run, limits, progress)
    _raise_for(code, watch, left_behind, run, limits, stops, progress, suggest)
    seconds = time.monotonic() - progress.started_s
    view.stage_ended(progress)
    after = (read_system_memory(), cards_used_bytes())
    record = ProcessRecord(
        seconds=round(seconds, 3),
        peak_process_bytes=watch.peak_process_bytes,
        peak_device_bytes=watch.peak_device_bytes,
        after_exit_processes=len(process.members()),
        after_exit_bytes=group_bytes(process.members()) or 0,
        system_available_bytes=(before[0].available_bytes, after[0].available_bytes),
        cards_used_bytes=(before[1], after[1]),
    )
    return record, watch.device


def _note_idle(process: StageProcess, clock: ClockWatch, stops: StopRequests, view: View) -> None:
    """Pause if the user asked to, and tell of the times in which nothing ran."""
    if stops.pause:
        _pause(process, stops, view)
    if (jump_s := clock.jump_s() or 0.0) > 0:
        view.slept(jump_s)


def _act(
    verdict: Verdict,
    process: StageProcess,
    watch: _Watch,
    progress: StageProgress,
    stops: StopRequests,
    view: View,
) -> None:
    """Ask the stage for what its memory or the user wants, and end it when it has had its time to follow."""
    if verdict.action == "stop" and watch.over_cap is None:
        watch.over_cap = verdict.why
    if verdict.action == "shrink" and watch.asked_at_s is None:
        process.ask_to_shrink()
        view.stage_asked_to_shrink(progress, verdict.why)
    if watch.asked_at_s is None and (stops.count or watch.over_cap):
        watch.asked_at_s = time.monotonic()
        process.ask_to_stop()
        view.stage_asked_to_stop(progress, watch.over_cap)
    # A user who asks once waits for the step to end, however long; over the cap there is no time to lose.
    grace_is_over = watch.over_cap is not None and time.monotonic() - (watch.asked_at_s or 0) > GRACE_S
    if stops.count > 1 or grace_is_over:
        process.kill()


def _pause(process: StageProcess, stops: StopRequests, view: View) -> None:
    """Stop together with the stage: it must not work on while nobody watches its memory."""
    view.paused(SUSPENDED)
    process.suspend()
    os.kill(os.getpid(), signal.SIGSTOP)  # until the shell's `fg` or `bg`
    stops.pause = False
    process.go_on()
    view.went_on()


def _take_events(process: StageProcess, watch: _Watch, progress: StageProgress) -> None:
    for event in process.new_events():
        watch.take(event)
        progress.apply(event)


def _want_of_memory(
    watch: _Watch, run: RunDirectory, limits: MemoryLimits, progress: StageProgress
) -> StageFailedError:
    return StageFailedError(
        f"stage {progress.stage} was ended by the system for want of memory in phase {progress.phase}",
        got=f"signal SIGKILL (peak {gib(watch.peak_bytes)})",
        expected=f"at most {gib(limits.cap_bytes)} (memory.cap_gib), and as much left on this machine",
        next_step=f"Close other programs or lower memory.cap_gib, then go on with: {run.resume_command}",
    )


def _raise_for(
    code: int,
    watch: _Watch,
    left_behind: list[int],
    run: RunDirectory,
    limits: MemoryLimits,
    stops: StopRequests,
    progress: StageProgress,
    suggest: Suggest,
) -> None:
    stage, phase = progress.stage, progress.phase
    resume = run.resume_command
    if watch.over_cap is not None:
        raise MemoryCapError(
            f"stage {stage} was stopped over the memory cap in phase {phase}",
            got=f"{watch.over_cap} (peak {gib(watch.peak_bytes)})",
            expected=f"at most {gib(limits.cap_bytes)} (memory.cap_gib)",
            next_step=suggest(Overrun(stage, phase, watch.peak_bytes, watch.device)),
        )
    if code == InterruptedRunError.exit_code:
        how_far = "saved" if is_unfinished(run, stage) else "before its first checkpoint"
        raise InterruptedRunError(f"stopped in stage {stage}, {how_far}", next_step=f"Go on with: {resume}")
    if stops.count > 1 and code < 0:
        raise InterruptedRunError(
            f"stage {stage} was ended at once; its last checkpoint stays", next_step=f"Go on with: {resume}"
        )
    if code == 0 and left_behind:
        raise MemoryNotReleasedError(
            f"stage {stage} ended and left processes behind; they were ended",
            got=f"pids {left_behind}",
            expected="none",
            next_step=f"Go on with: {resume}",
        )
    if code == 0:
        return
    if watch.error is not None and code in _ERRORS:
        raise _ERRORS[code](watch.error.message)
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    raise _ERRORS.get(code, StageFailedError)(  # without its message where its disk took no more
        f"stage {stage} failed",
        got=watch.error.message if watch.error else how,
        next_step=f"Read {run.log_file(stage)}; then go on with: {resume}",
    )
