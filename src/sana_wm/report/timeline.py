"""Memory over time with what the run was doing: the log and the events of a run directory, put on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sana_wm.names import STAGES, Stage
from sana_wm.runs.events import Event, MemoryReading, PhaseEnd, PhaseStart, read_events, read_memory_log
from sana_wm.runs.run_directory import RunDirectory

#: A longer silence of the log is a time in which nothing ran; it is cut out of the axis.
PAUSE_S = 30.0
#: What is left of it.
CUT_S = 1.0


@dataclass(frozen=True)
class PhaseSpan:
    """When a phase ran, on the wall clock. Only the last start of a stage has left its phases."""

    stage: Stage
    phase: str
    begin_s: float
    end_s: float


@dataclass(frozen=True)
class Pause:
    """A time in which nothing ran, on the wall clock."""

    begin_s: float
    end_s: float


@dataclass(frozen=True)
class Timeline:
    """Memory and phases of a run, all its starts together.

    Attributes:
        readings: In the order of time.
        phases: In the order of time.
        pauses: Between the starts.
        cap_bytes: `memory.cap_gib`.
    """

    readings: tuple[MemoryReading, ...]
    phases: tuple[PhaseSpan, ...]
    pauses: tuple[Pause, ...]
    cap_bytes: int

    @property
    def origin_s(self) -> float:
        """Wall clock of the first thing known; 0 when nothing is."""
        times = [reading.time_s for reading in self.readings[:1]] + [span.begin_s for span in self.phases[:1]]
        return min(times, default=0.0)

    def on_axis(self, time_s: float) -> float:
        """Seconds since the origin, pauses cut out."""
        cut_s = sum(
            min(time_s, pause.end_s) - pause.begin_s - CUT_S * (time_s >= pause.end_s)
            for pause in self.pauses
            if time_s > pause.begin_s
        )
        return time_s - self.origin_s - cut_s

    def peak(self, figure: str, stage: Stage | None = None) -> MemoryReading | None:
        """The reading at which a figure (`process_bytes`, `device_bytes`) was highest; `None` where it never is."""
        candidates = [
            reading
            for reading in self.readings
            if getattr(reading, figure) is not None and stage in (None, reading.stage)
        ]
        return max(candidates, key=lambda reading: getattr(reading, figure), default=None)

    @property
    def least_available_bytes(self) -> int | None:
        """The least that the whole machine had left; `None` where it never said."""
        return min((one.available_bytes for one in self.readings if one.available_bytes is not None), default=None)

    @property
    def most_swap_growth_bytes(self) -> int | None:
        """The most that the machine's swap grew during a stage; `None` where it never said."""
        return max((one.swap_growth_bytes for one in self.readings if one.swap_growth_bytes is not None), default=None)

    def phase_at(self, time_s: float) -> str | None:
        """Stage and phase that ran then, in words; `None` where no phase did."""
        for span in self.phases:
            if span.begin_s <= time_s <= span.end_s:
                return f"{span.stage} {span.phase.replace('_', ' ')}"
        return None


def read_timeline(run: RunDirectory, cap_bytes: int) -> Timeline:
    """Put a run directory's memory log and events on one axis; what is missing is left out."""
    readings = read_memory_log(run.memory_file)
    phases = [span for stage in STAGES for span in phase_spans(stage, read_events(run.events_file(stage)))]
    phases.sort(key=lambda span: span.begin_s)
    times = sorted(
        [reading.time_s for reading in readings] + [time for span in phases for time in (span.begin_s, span.end_s)]
    )
    return Timeline(tuple(readings), tuple(phases), tuple(_find_pauses(times, phases)), cap_bytes)


def phase_spans(stage: Stage, events: Sequence[Event]) -> list[PhaseSpan]:
    """The phases that a stage's events tell of; one that did not end goes to the last event."""
    spans: list[PhaseSpan] = []
    running: tuple[str, float] | None = None
    for event in events:
        if isinstance(event, PhaseStart):
            running = (event.phase, event.time_s)
        elif isinstance(event, PhaseEnd) and running is not None:
            spans.append(PhaseSpan(stage, *running, event.time_s))
            running = None
    if running is not None:
        spans.append(PhaseSpan(stage, *running, events[-1].time_s))
    return spans


def _find_pauses(times: list[float], phases: Sequence[PhaseSpan]) -> list[Pause]:
    return [
        Pause(before, after)
        for before, after in pairwise(times)
        # Without a log, a phase is known by its two ends only.
        if after - before > PAUSE_S and not any(span.begin_s <= before and after <= span.end_s for span in phases)
    ]
