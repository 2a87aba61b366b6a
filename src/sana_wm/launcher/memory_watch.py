"""Looks at the memory of a running stage, judges it, and keeps what was seen for the timeline."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sana_wm.durable import open_to_append
from sana_wm.errors import HandoffError
from sana_wm.launcher.governor import MemoryLimits, Verdict, judge
from sana_wm.launcher.probes.process import exact_process_bytes, group_bytes
from sana_wm.launcher.probes.system import SystemMemory, read_system_memory
from sana_wm.progress.memory import MemorySample
from sana_wm.runs.events import MemoryReading, now_s, to_line

WRITE_EVERY_S = 1.0
#: A stage gets this long to act on a request to take less before it is asked again.
SHRINK_EVERY_S = 30.0


class MemoryLog:
    """Appends what was seen to a file, about once a second; a log is never a reason to stop a run.

    Args:
        path: JSON lines, each a `MemoryReading`.
        stage: The stage that is looked at.
    """

    def __init__(self, path: Path, stage: str) -> None:
        self._path, self._stage = path, stage
        self._next_s = 0.0

    def write(self, sample: MemorySample, *, at_once: bool) -> None:
        """Append a sample if it is time to, or at once."""
        now = time.monotonic()  # a clock that is set back must not silence the log
        if now < self._next_s and not at_once:
            return
        self._next_s = now + WRITE_EVERY_S
        reading = MemoryReading(
            time_s=now_s(),
            stage=self._stage,
            process_bytes=sample.process_bytes,
            device_bytes=sample.device_bytes,
            available_bytes=sample.available_bytes,
            swap_growth_bytes=sample.swap_growth_bytes,
            pressure=sample.pressure,
        )
        # A full disk stops the stage where it matters, with its own message.
        with contextlib.suppress(OSError, HandoffError), open_to_append(self._path) as file:
            file.write(to_line(reading).encode())


class MemoryWatch:
    """Samples and judges one stage.

    Args:
        members: Gives the pids of the stage and of what it started.
        log: Keeps the samples.
        read_system: Looks at the machine; tests give their own.
    """

    def __init__(
        self,
        members: Callable[[], Sequence[int]],
        log: MemoryLog,
        read_system: Callable[[], SystemMemory] = read_system_memory,
    ) -> None:
        self._members, self._log, self._read_system = members, log, read_system
        self._system = read_system()
        self._system_at_s = time.monotonic()
        self._swap_before_bytes = self._system.swap_used_bytes
        self._shrink_again_s = 0.0

    def look(
        self, device_bytes: int | None, device_limit_bytes: int | None, limits: MemoryLimits
    ) -> tuple[MemorySample, Verdict]:
        """Sample and judge; `shrink` comes at most every 30 s.

        The cheap figure may count shared pages twice, so the exact one is read before anything is held against the
        stage; reading it each time would cost 0.15 ms for every GB of the stage.
        """
        members = self._members()
        system = self._look_at_system()
        sample = MemorySample(
            process_bytes=group_bytes(members),
            device_bytes=device_bytes,
            device_limit_bytes=device_limit_bytes,
            available_bytes=system.available_bytes,
            swap_growth_bytes=self._swap_growth_bytes(system),
            pressure=system.pressure,
        )
        verdict = self._due(judge(sample, limits))
        if verdict.action != "go" and len(members) > 1:
            exact_bytes = group_bytes(members, exact_process_bytes)
            sample = replace(sample, process_bytes=sample.process_bytes if exact_bytes is None else exact_bytes)
            verdict = self._due(judge(sample, limits))
        if verdict.action == "shrink":
            self._shrink_again_s = time.monotonic() + SHRINK_EVERY_S
            # What macOS has swapped out of idle programs stays out: only what comes on top asks again.
            self._swap_before_bytes = system.swap_used_bytes
        self._log.write(sample, at_once=verdict.action == "shrink")
        return sample, verdict

    def _due(self, verdict: Verdict) -> Verdict:
        """The verdict, without requests that come too soon after the last one."""
        too_soon = verdict.action == "shrink" and time.monotonic() < self._shrink_again_s
        return Verdict("go") if too_soon else verdict

    def _look_at_system(self) -> SystemMemory:
        if time.monotonic() - self._system_at_s >= WRITE_EVERY_S:
            self._system, self._system_at_s = self._read_system(), time.monotonic()
        return self._system

    def _swap_growth_bytes(self, system: SystemMemory) -> int | None:
        if system.swap_used_bytes is None or self._swap_before_bytes is None:
            return None
        return max(0, system.swap_used_bytes - self._swap_before_bytes)
