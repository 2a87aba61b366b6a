"""Where a stage is: events in, a state that a view can draw. Knows nothing of terminals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sana_wm.names import SAVING, STARTING, Stage
from sana_wm.pipeline import phases_of
from sana_wm.progress.idle import Idle, worked_s
from sana_wm.progress.memory import MemorySample
from sana_wm.runs.events import Event, PhaseEnd, PhaseStart, StepDone, StepsBegin, now_s

#: How many of the newest steps a pace is taken from, if there are so many.
LEAST_STEPS = 3


@dataclass(frozen=True)
class _Mark:
    """A report of steps: how many are done, how many mean ones their work is, after how many seconds of the phase."""

    step: int
    work: float
    after_s: float


@dataclass
class StageProgress:
    """The state of a stage's process, and the times of what it has done.

    Attributes:
        started_s: `time.monotonic` at its start.
        started_at_s: The same on the wall clock, which events are stamped with.
        phase: The running phase, `STARTING` or `SAVING`.
        phase_started_at_s: Since when, on the wall clock.
        idle: When it did not work: such seconds belong to no phase.
        spent_s: Seconds by phase of what is over, `STARTING` and `SAVING` included; gaps add up.
        step: Steps done of the phase that reports steps.
        total: Steps of that phase; 0 before the first report.
        reported_at_s: Wall clock of the last step.
        partly_done: Phases that an earlier start had begun: their times are not those of the whole.
        ended: The process is gone.
    """

    stage: Stage
    started_s: float
    started_at_s: float = field(default_factory=now_s)
    phase: str = STARTING
    step: int = 0
    total: int = 0
    sample: MemorySample = field(default_factory=lambda: MemorySample(None, None))
    preview: str | None = None
    idle: Sequence[Idle] = ()
    spent_s: dict[str, float] = field(default_factory=dict)
    partly_done: set[str] = field(default_factory=set)
    reported_at_s: float | None = None
    ended: bool = False
    _marks: list[_Mark] = field(default_factory=list)
    _says_where: bool = False

    def __post_init__(self) -> None:
        self.phase_started_at_s = self.started_at_s

    def apply(self, event: Event) -> None:
        """Take in one event of the stage."""
        match event:
            case PhaseStart():
                self._enter(event.phase, event.time_s)
            case PhaseEnd():
                self._enter(SAVING, event.time_s)
            case StepsBegin():
                self._begin_steps(event)
            case StepDone():
                self._count_step(event)
                self.preview = event.preview or self.preview
            case _:
                pass

    def end(self, now_s: float) -> None:
        """The process is gone since `now_s` on the wall clock."""
        if not self.ended:
            self._enter(SAVING, now_s)
            self.ended = True

    def phase_s(self, now_s: float) -> float:
        """Seconds of the running phase until `now_s` on the wall clock."""
        return worked_s(self.phase_started_at_s, now_s, self.idle)

    def times_s(self, now_s: float) -> dict[str, float]:
        """Seconds by phase, the running one until `now_s` among them."""
        if self.ended:
            return dict(self.spent_s)
        return self.spent_s | {self.phase: self.spent_s.get(self.phase, 0.0) + self.phase_s(now_s)}

    def whole_s(self) -> dict[str, float]:
        """Seconds by phase of those that this process did as a whole; the gaps only if it did all phases."""
        whole = {phase: seconds for phase, seconds in self.spent_s.items() if phase not in self.partly_done}
        if not whole.keys() >= set(phases_of(self.stage)):
            whole.pop(SAVING, None)
        return whole

    def _enter(self, phase: str, now_s: float) -> None:
        self.spent_s = self.times_s(now_s)
        self.phase, self.phase_started_at_s = phase, now_s
        self.step, self.total, self._marks = 0, 0, []
        self._says_where, self.reported_at_s = False, None

    def _begin_steps(self, event: StepsBegin) -> None:
        self._says_where, self._marks = True, []
        if event.by_earlier_start:
            self.partly_done.add(self.phase)
        self._mark(event)

    def _count_step(self, event: StepDone) -> None:
        self._mark(event)
        first = self._marks[0].step
        if not self._says_where and first > self.step - first > 0:  # as earlier releases wrote: by the size of reports
            self.partly_done.add(self.phase)

    def _mark(self, event: StepsBegin | StepDone) -> None:
        self.step, self.total, self.reported_at_s = event.step, event.total, event.time_s
        work = event.step if event.share is None else event.share * event.total
        self._marks.append(_Mark(event.step, work, self.phase_s(event.time_s)))

    @property
    def seconds_per_step(self) -> float | None:
        """Mean over the steps seen so far, `None` before the first that is seen from its begin."""
        if not self._marks:
            return None
        first, last = self._marks[0], self._marks[-1]
        return (last.after_s - first.after_s) / (last.step - first.step) if last.step > first.step else None

    @property
    def steps_seen(self) -> int:
        """Steps of the running phase that this process did."""
        return self._marks[-1].step - self._marks[0].step if self._marks else 0

    @property
    def done_share(self) -> float:
        """How much of the running phase's steps is done, by their work; 0 where it counts none."""
        return self._marks[-1].work / self.total if self._marks and self.total else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Seconds from the last step to the running phase's last one, at its newest pace; `None` while unknown.

        The newest third of its steps, and three at least: a machine that grows hot grows slow.
        """
        newest = self._marks[-1 - max(LEAST_STEPS, len(self._marks) // 3) :]
        if not newest or newest[-1].work <= newest[0].work:
            return None
        pace = (newest[-1].after_s - newest[0].after_s) / (newest[-1].work - newest[0].work)
        return pace * (self.total - newest[-1].work)

    def rest_by_steps_s(self, now_s: float) -> float | None:
        """The same from `now_s` on the wall clock."""
        if self.remaining_s is None or self.reported_at_s is None:
            return None
        return max(0.0, self.remaining_s - worked_s(self.reported_at_s, now_s, self.idle))


def replay(
    stage: Stage,
    events: Iterable[Event],
    *,
    started_at_s: float,
    ended_at_s: float | None = None,
    idle: Sequence[Idle] = (),
) -> StageProgress:
    """The state that a stage's events lead to.

    Args:
        stage: The stage.
        events: In the order of time.
        started_at_s: When its process was started, on the wall clock.
        ended_at_s: When it was gone, if it is.
        idle: When it did not work.
    """
    progress = StageProgress(stage, started_s=0.0, started_at_s=started_at_s, idle=idle)
    for event in events:
        progress.apply(event)
    if ended_at_s is not None:
        progress.end(ended_at_s)
    return progress
