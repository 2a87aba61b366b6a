"""Watches one stage: passes its events on, samples its memory, stops it over the cap or when the user asks."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol

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
from sana_wm.handoff.receipts import ProcessRecord
from sana_wm.handoff.run_directory import RunDirectory, Stage
from sana_wm.launcher.governor import MemorySample, is_over_cap
from sana_wm.launcher.probes import group_bytes
from sana_wm.launcher.process import GRACE_S, StageProcess
from sana_wm.launcher.progress import StageProgress

SAMPLE_EVERY_S = 0.25

_ERRORS: dict[int, type[SanaWMError]] = {
    kind.exit_code: kind
    for kind in (UsageError, WeightsError, HandoffError, MemoryCapError, MemoryNotReleasedError, SanityError)
}


class View(Protocol):
    """Shows a run to people; see `sana_wm.cli.progress_view`."""

    def stage_started(self, progress: StageProgress) -> None:
        """A stage begins."""
        ...

    def updated(self, progress: StageProgress) -> None:
        """Something changed."""
        ...

    def stage_asked_to_stop(self, progress: StageProgress) -> None:
        """A stage was asked to save and leave."""
        ...

    def stage_ended(self, progress: StageProgress, seconds: float) -> None:
        """A stage is done."""
        ...


class StopRequests:
    """Counts how often the user asked to stop: once saves first, twice ends at once."""

    def __init__(self) -> None:
        self.count = 0

    @contextlib.contextmanager
    def listening(self) -> Generator[None]:
        """Take SIGINT, SIGTERM and SIGHUP (a closed terminal) as requests while the block runs."""
        wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        # What the parent of this process set to be ignored stays ignored: that is how nohup works.
        numbers = [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]
        before = [signal.signal(number, self._on_signal) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.count += 1


@dataclass
class _Watch:
    """What was seen of a stage so far."""

    peak_process_bytes: int = 0
    peak_device_bytes: int | None = None
    device_bytes: int | None = None
    error: dict[str, Any] | None = None
    over_cap: MemorySample | None = None
    asked_at_s: float | None = None

    def take(self, event: dict[str, Any]) -> None:
        if event["event"] == "error":
            self.error = event
        device_bytes = event.get("device_bytes")
        if device_bytes is not None:
            self.device_bytes = device_bytes
            self.peak_device_bytes = max(self.peak_device_bytes or 0, device_bytes)


def supervise(
    process: StageProcess, run: RunDirectory, stage: Stage, cap_bytes: int, stops: StopRequests, view: View
) -> ProcessRecord:
    """Watch a stage until it is gone.

    Returns:
        What the system saw of the process.

    Raises:
        SanaWMError: Of the class that the stage's exit code names; `MemoryCapError` when it was stopped over the cap,
            `InterruptedRunError` when the user stopped it, `MemoryNotReleasedError` when it left a process behind.
    """
    progress = StageProgress(stage, started_s=time.monotonic())
    view.stage_started(progress)
    watch = _Watch()
    while (code := process.wait(SAMPLE_EVERY_S)) is None:
        _take_events(process, watch, progress)
        sample = MemorySample(group_bytes(process.members()), watch.device_bytes)
        watch.peak_process_bytes = max(watch.peak_process_bytes, sample.process_bytes or 0)
        progress.sample = sample
        view.updated(progress)
        if watch.over_cap is None and is_over_cap(sample, cap_bytes):
            watch.over_cap = sample
        if watch.asked_at_s is None and (stops.count or watch.over_cap):
            watch.asked_at_s = time.monotonic()
            process.ask_to_stop()
            view.stage_asked_to_stop(progress)
        # A user who asks once waits for the step to end, however long; over the cap there is no time to lose.
        grace_is_over = watch.over_cap is not None and time.monotonic() - (watch.asked_at_s or 0) > GRACE_S
        if stops.count > 1 or grace_is_over:
            process.kill()
    _take_events(process, watch, progress)
    if code == -signal.SIGTERM and process.asked_to_stop:  # before it could listen, so before it had anything to save
        code = InterruptedRunError.exit_code
    left_behind = process.kill()
    _raise_for(code, watch, left_behind, run, stage, cap_bytes, stops)
    view.stage_ended(progress, time.monotonic() - progress.started_s)
    return ProcessRecord(
        peak_process_bytes=watch.peak_process_bytes,
        peak_device_bytes=watch.peak_device_bytes,
        after_exit_processes=len(process.members()),
        after_exit_bytes=group_bytes(process.members()) or 0,
    )


def _take_events(process: StageProcess, watch: _Watch, progress: StageProgress) -> None:
    for event in process.new_events():
        watch.take(event)
        progress.apply(event)


def _raise_for(
    code: int,
    watch: _Watch,
    left_behind: list[int],
    run: RunDirectory,
    stage: Stage,
    cap_bytes: int,
    stops: StopRequests,
) -> None:
    resume = f"sana-wm resume {run.path}"
    if watch.over_cap is not None:
        raise MemoryCapError(
            f"stage {stage} was stopped over the memory cap",
            got=f"{watch.over_cap.used_bytes / 1024**3:.2f} GiB",
            expected=f"at most {cap_bytes / 1024**3:.2f} GiB (memory.cap_gib)",
            next_step=f"Lower video.num_frames or raise memory.cap_gib, then: {resume}",
        )
    if code == InterruptedRunError.exit_code:
        raise InterruptedRunError(f"stopped in stage {stage}, saved", next_step=f"Go on with: {resume}")
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
        raise _ERRORS[code](watch.error["message"])
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    raise _ERRORS.get(code, StageFailedError)(  # without its message where its disk took no more
        f"stage {stage} failed",
        got=watch.error["message"] if watch.error else how,
        next_step=f"Read {run.log_file(stage)}; then go on with: {resume}",
    )
