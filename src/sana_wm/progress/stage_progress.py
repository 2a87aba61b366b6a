"""Where a stage is: events in, a state that a view can draw. Knows nothing of terminals."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from sana_wm.names import SAVING, STARTING, Stage
from sana_wm.progress.memory import MemorySample
from sana_wm.runs.events import Event, PhaseEnd, PhaseStart, StepDone


@dataclass
class StageProgress:
    """The state of a stage, and the times of what it has done.

    Attributes:
        started_s: `time.monotonic` at the stage's start.
        started_at_s: The same on the wall clock, which events are stamped with.
        phase: The running phase, `STARTING` or `SAVING`.
        phase_started_at_s: Since when, on the wall clock.
        spent_s: Seconds by phase of what is over, `STARTING` and `SAVING` included; gaps add up.
        step: Steps done of the phase that reports steps.
        total: Steps of that phase; 0 before the first report.
        seconds_per_step: Mean over the steps seen so far, `None` before the second.
        reported_at_s: Wall clock of the last step.
        partly_done: Phases that an earlier start had begun: their times are not those of the whole.
        ended: The stage is gone.
    """

    stage: Stage
    started_s: float
    started_at_s: float = field(default_factory=time.time)
    phase: str = STARTING
    step: int = 0
    total: int = 0
    seconds_per_step: float | None = None
    sample: MemorySample = field(default_factory=lambda: MemorySample(None, None))
    preview: str | None = None
    spent_s: dict[str, float] = field(default_factory=dict)
    partly_done: set[str] = field(default_factory=set)
    reported_at_s: float | None = None
    ended: bool = False
    _first_step: tuple[int, float, float] | None = None
    _work: float = 0.0
    _seconds_per_work: float | None = None

    def __post_init__(self) -> None:
        self.phase_started_at_s = self.started_at_s

    def apply(self, event: Event) -> None:
        """Take in one event of the stage."""
        match event:
            case PhaseStart():
                self._enter(event.phase, event.time_s)
            case PhaseEnd():
                self._enter(SAVING, event.time_s)
            case StepDone():
                self._count_step(event)
                self.preview = event.preview or self.preview
            case _:
                pass

    def end(self, now_s: float) -> None:
        """The stage is gone since `now_s` on the wall clock."""
        if not self.ended:
            self._enter(SAVING, now_s)
            self.ended = True

    def _enter(self, phase: str, now_s: float) -> None:
        elapsed_s = max(0.0, now_s - self.phase_started_at_s)
        self.spent_s[self.phase] = self.spent_s.get(self.phase, 0.0) + elapsed_s
        self.phase, self.phase_started_at_s = phase, now_s
        self.step, self.total, self._first_step = 0, 0, None
        self.seconds_per_step, self._seconds_per_work, self.reported_at_s = None, None, None

    def _count_step(self, event: StepDone) -> None:
        step, now_s = event.step, event.time_s
        self.step, self.total, self.reported_at_s = step, event.total, now_s
        self._work = step if event.share is None else event.share * event.total
        if self._first_step is None:
            self._first_step = (step, self._work, now_s)
            return
        first, first_work, first_s = self._first_step
        if step > first and self._work > first_work:
            self.seconds_per_step = (now_s - first_s) / (step - first)
            self._seconds_per_work = (now_s - first_s) / (self._work - first_work)
            if first > step - first:  # it began further on than one report goes
                self.partly_done.add(self.phase)

    @property
    def remaining_s(self) -> float | None:
        """Seconds from the last step to the running phase's last one, from its own pace; `None` while unknown.

        Steps count by their work: those without guidance take half the passes.
        """
        return None if self._seconds_per_work is None else self._seconds_per_work * (self.total - self._work)


def replay(
    stage: Stage, events: Iterable[Event], *, started_at_s: float, ended_at_s: float | None = None
) -> StageProgress:
    """The state that a stage's events lead to.

    Args:
        stage: The stage.
        events: In the order of time.
        started_at_s: When its process was started, on the wall clock.
        ended_at_s: When it was gone, if it is.
    """
    progress = StageProgress(stage, started_s=0.0, started_at_s=started_at_s)
    for event in events:
        progress.apply(event)
    if ended_at_s is not None:
        progress.end(ended_at_s)
    return progress
