"""How a run is, seen from outside: reads what it leaves in its directory, takes no lock, changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES, Stage
from sana_wm.progress.earlier_starts import replay_start
from sana_wm.progress.memory import MemorySample
from sana_wm.progress.run_progress import take_snapshot
from sana_wm.progress.run_record import RunAsked, RunEnd, RunStart
from sana_wm.progress.snapshot import RunError, RunSnapshot, RunState
from sana_wm.progress.stage_progress import StageProgress
from sana_wm.runs.chain import stages_due
from sana_wm.runs.decisions import Action
from sana_wm.runs.events import (
    DeviceUse,
    Event,
    MemoryReading,
    StageFailed,
    parse_event,
    parse_reading,
)
from sana_wm.runs.lines import LineReader
from sana_wm.runs.lock import SUSPENDED, Owner, read_owner
from sana_wm.runs.run_directory import RunDirectory

#: A run writes what it sees of memory once a second; after so long a silence another machine's counts as ended.
SILENCE_S = 120.0


class StatusReader:
    """Looks at a run again and again, reading only what is new.

    Args:
        run: The run directory.
        clock: Wall clock in seconds.

    Raises:
        HandoffError: It is no run directory.
    """

    def __init__(self, run: RunDirectory, clock: Callable[[], float] = time.time) -> None:
        self._run, self._clock = run, clock
        self._manifest: RunManifest = run.read_manifest()
        self._readers = {stage: LineReader(run.events_file(stage), parse_event) for stage in STAGES}
        self._events: dict[Stage, list[Event]] = {stage: [] for stage in STAGES}
        self._memory_reader = LineReader(run.memory_file, parse_reading)
        self._memory: MemoryReading | None = None

    def look(self) -> RunSnapshot:
        """The run as it is now."""
        self._read_new()
        end = RunEnd.read(self._run)
        owner = read_owner(self._run)
        elsewhere = owner if end is None and owner is not None and owner.is_elsewhere() else None
        silence_s = self._silence_s()
        if elsewhere is not None:
            under_way = silence_s is not None and silence_s <= SILENCE_S
        else:
            under_way = end is None and owner is not None and owner.lives()
        start = RunStart.read(self._run) or self._guess_start()
        seen = self._replay(start, under_way=under_way)
        state, error = self._judge(start, seen, end, under_way=under_way)
        now_s = self._clock() if under_way else end.ended_at_s if end is not None else self._last_word_s(start)
        look = take_snapshot(self._run, self._manifest, start, seen, state, now_s=now_s, error=error)
        if elsewhere is not None and look.state in ("running", "stopped"):
            return replace(look, note=_describe_elsewhere(elsewhere, silence_s))
        if end is not None and end.state == "stopped":
            return replace(look, note=f"stopped there as asked; go on with: {self._run.resume_command}")
        if not under_way or owner is None:
            return look
        asked = RunAsked.read(self._run)
        note = SUSPENDED if owner.is_suspended() else asked and asked.note
        return replace(look, note=note, state=asked.state if asked is not None else look.state)

    def _read_new(self) -> None:
        for stage in STAGES:
            reader = self._readers[stage]
            new: list[Event] = [event for event in reader.read() if not isinstance(event, DeviceUse)]
            self._events[stage] = new if reader.made_anew else self._events[stage] + new
        if readings := self._memory_reader.read():
            self._memory = readings[-1]

    def _words_s(self) -> list[float]:
        """When the run said something last: a stage, or the launcher of its memory."""
        words = [events[-1].time_s for events in self._events.values() if events]
        return words if self._memory is None else [*words, self._memory.time_s]

    def _last_word_s(self, start: RunStart) -> float:
        return max([start.started_at_s, *self._words_s()])

    def _silence_s(self) -> float | None:
        """Seconds since the run's last word, by this machine's clock; `None` where it left none."""
        words = self._words_s()
        return max(0.0, self._clock() - max(words)) if words else None

    def _guess_start(self) -> RunStart:
        """The start of a run that has not said what it means to do: by receipts and events."""
        times = [events[0].time_s for events in self._events.values() if events]
        due = stages_due(self._run, self._manifest)
        actions: dict[Stage, Action] = {
            stage: "off"
            if stage not in due
            else "skip"
            if not self._events[stage] and self._run.receipt_file(stage).is_file()
            else "run"
            for stage in STAGES
        }
        return RunStart(started_at_s=min(times, default=self._clock()), actions=actions)

    def _replay(self, start: RunStart, *, under_way: bool) -> dict[Stage, StageProgress]:
        """Progress of the stages that this start has begun, with what is seen of the running one's memory."""
        seen = replay_start(self._run, start, self._events, under_way=under_way)
        for stage, progress in seen.items():
            if under_way and not progress.ended and self._memory is not None and self._memory.stage == stage:
                progress.sample = MemorySample(self._memory.process_bytes, self._memory.device_bytes)
        return seen

    def _judge(
        self, start: RunStart, seen: dict[Stage, StageProgress], end: RunEnd | None, *, under_way: bool
    ) -> tuple[RunState, RunError | None]:
        if end is not None:
            return end.state, end.error
        if under_way:
            return "running", None
        if all(stage in seen and seen[stage].ended for stage in start.stages):
            return "stopped" if start.later else "finished", None
        last = self._events[next(reversed(seen))][-1:] if seen else []
        if last and isinstance(last[0], StageFailed):
            error = RunError(last[0].message, last[0].exit_code)
            return ("interrupted" if error.exit_code == 130 else "failed"), error
        return "stopped", None


def _describe_elsewhere(owner: Owner, silence_s: float | None) -> str:
    last = "it left no event" if silence_s is None else f"its last word is {round(silence_s)} s old"
    return f"begun by {owner}, another machine: whether it still runs only that one can say; {last}"
