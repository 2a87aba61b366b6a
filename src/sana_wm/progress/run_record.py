"""What a start of a run leaves about itself: what it meant to do, and how it ended; `sana-wm status` reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from sana_wm.durable import remove_file, write_durably
from sana_wm.names import Stage
from sana_wm.pipeline import PIPELINE
from sana_wm.progress.eta import Expected
from sana_wm.progress.idle import Idle, worked_s
from sana_wm.progress.snapshot import RunError
from sana_wm.progress.stage_progress import StageProgress
from sana_wm.records import OpenRecord, Seconds, WallClock, as_unicode, read_record
from sana_wm.runs.decisions import Action, StageDecision
from sana_wm.runs.run_directory import RunDirectory

EndState = Literal["finished", "stopped", "failed", "interrupted"]


class ExpectedPhase(NamedTuple):
    """What a phase was expected to take; a guess when nothing on this machine was measured for it."""

    stage: Stage
    phase: str
    seconds: Seconds
    is_guess: bool


class Reached(NamedTuple):
    """How far an unfinished stage is: the phase that an earlier start was in, and how much of that it had done."""

    phase: str
    share: Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class EarlierStarts:
    """What the earlier starts of a run took; see `sana_wm.progress.earlier_starts`.

    Attributes:
        seconds: All of them together, without the times in which nothing ran.
        stages_s: By stage and phase, of those that are done or begun.
        reached: How far those are that are begun.
    """

    seconds: float = 0.0
    stages_s: Mapping[Stage, Mapping[str, float]] = field(default_factory=dict[Stage, Mapping[str, float]])
    reached: Mapping[Stage, Reached] = field(default_factory=dict[Stage, Reached])

    def still_expected(self, expected_s: Expected) -> Expected:
        """What is still to come of what was expected of whole stages: phases that are done take no time."""
        left = dict(expected_s)
        for (stage, phase), seconds in expected_s.items():
            if (there := self.reached.get(stage)) is None or phase not in PIPELINE[stage].phases:
                continue
            order = list(PIPELINE[stage].phases)
            if phase == there.phase:
                left[stage, phase] = seconds * (1 - there.share)
            elif there.phase in order and order.index(phase) < order.index(there.phase):
                left[stage, phase] = 0.0
        return left


class RunStart(OpenRecord):
    """What one start of a run means to do, and what it knows of those before it.

    Attributes:
        started_at_s: Wall clock.
        actions: By stage.
        expected_s: What is to come, where anything is known of it.
        earlier_s: What all earlier starts took together.
        stages_s: By stage and phase, what processes before the one that runs or ran last took of it: those of
            earlier starts, and those of this one that a pause ended.
        reached: How far earlier starts got with stages that they did not finish.
        begun_s: Wall clock at which the last process of each stage was started.
        ended_s: Wall clock at which it was gone, of those that are done.
        idle: When nothing ran in this start.
    """

    started_at_s: WallClock
    actions: dict[Stage, Action]
    expected_s: tuple[ExpectedPhase, ...] = ()
    earlier_s: Seconds = 0.0
    stages_s: dict[Stage, dict[str, Seconds]] = Field(default_factory=dict[Stage, dict[str, float]])
    reached: dict[Stage, Reached] = Field(default_factory=dict[Stage, Reached])
    begun_s: dict[Stage, WallClock] = Field(default_factory=dict[Stage, float])
    ended_s: dict[Stage, WallClock] = Field(default_factory=dict[Stage, float])
    idle: tuple[Idle, ...] = ()

    @classmethod
    def of(
        cls,
        decisions: Sequence[StageDecision],
        expected_s: Expected,
        now_s: float,
        guessed: frozenset[tuple[Stage, str]] = frozenset(),
        earlier: EarlierStarts | None = None,
    ) -> RunStart:
        """The start that carries out decisions.

        Args:
            decisions: What happens to each stage.
            expected_s: Of whole stages.
            now_s: Wall clock.
            guessed: Those of `expected_s` that are guesses.
            earlier: What was before, if anything was.
        """
        earlier = earlier or EarlierStarts()
        return cls(
            started_at_s=now_s,
            actions={decision.stage: decision.action for decision in decisions},
            expected_s=tuple(
                ExpectedPhase(*key, round(seconds, 3), key in guessed)
                for key, seconds in earlier.still_expected(expected_s).items()
            ),
            earlier_s=round(earlier.seconds, 3),
            stages_s={
                stage: {phase: round(seconds, 3) for phase, seconds in phases.items()}
                for stage, phases in earlier.stages_s.items()
            },
            reached=dict(earlier.reached),
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that run."""
        return tuple(stage for stage, action in self.actions.items() if action == "run")

    @property
    def expected(self) -> Expected:
        """Seconds by stage and phase."""
        return {(one.stage, one.phase): one.seconds for one in self.expected_s}

    @property
    def guessed(self) -> frozenset[tuple[Stage, str]]:
        """Phases whose expectation is a guess."""
        return frozenset((one.stage, one.phase) for one in self.expected_s if one.is_guess)

    @property
    def later(self) -> tuple[Stage, ...]:
        """The stages that the run still needs and that this start was not asked for."""
        return tuple(stage for stage, action in self.actions.items() if action == "later")

    def expected_of(self, stage: Stage) -> float | None:
        """Seconds of a whole stage; `None` unless something is known of it."""
        known = [one.seconds for one in self.expected_s if one.stage == stage]
        return sum(known) if known else None

    def elapsed_s(self, now_s: float) -> float:
        """Seconds that the run took until then, all its starts together, without those in which nothing ran."""
        return self.earlier_s + worked_s(self.started_at_s, now_s, self.idle)

    def times_of(self, stage: Stage, progress: StageProgress | None, now_s: float) -> dict[str, float]:
        """Seconds of a stage by phase, over all processes that worked on it.

        Args:
            stage: The stage.
            progress: Its last process, if this start had one.
            now_s: Wall clock.
        """
        before, last = self.stages_s.get(stage, {}), progress.times_s(now_s) if progress is not None else {}
        return {phase: before.get(phase, 0.0) + last.get(phase, 0.0) for phase in (before | last)}

    def write(self, run: RunDirectory) -> None:
        """Leave it in the run directory, in place of what an earlier start left of its end."""
        remove_file(run.end_file)
        remove_file(run.asked_file)
        self.update(run)

    def update(self, run: RunDirectory) -> None:
        """Leave what has changed of this start in the run directory."""
        write_durably(run.start_file, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, run: RunDirectory) -> RunStart | None:
        """The last start of a run directory; `None` when there is none that can be read."""
        return read_record(run.start_file, cls)


class RunAsked(OpenRecord):
    """What a running stage was last asked for.

    Attributes:
        state: `stopping` when it shall leave.
        note: In words.
    """

    state: Literal["running", "stopping"]
    note: str

    def write(self, run: RunDirectory) -> None:
        """Leave it in the run directory, until the next stage begins."""
        write_durably(run.asked_file, self.model_dump_json() + "\n")

    @classmethod
    def read(cls, run: RunDirectory) -> RunAsked | None:
        """What the running stage was last asked for; `None` when nothing was."""
        return read_record(run.asked_file, cls)


class RunEnd(OpenRecord):
    """How a start of a run ended.

    Attributes:
        ended_at_s: Wall clock.
        state: Well, with all of the run or with what was asked for, with an error, or because the user asked.
        error: Why, if it did not end well.
        run_dir: Where the run lay then.
    """

    ended_at_s: WallClock
    state: EndState
    error: RunError | None = None
    run_dir: str | None = None

    @classmethod
    def of(cls, run: RunDirectory, now_s: float, state: EndState, error: RunError | None) -> RunEnd:
        """The end of a start."""
        told = error and replace(error, message=as_unicode(error.message))
        return cls(ended_at_s=now_s, state=state, error=told, run_dir=as_unicode(str(run.path)))

    def write(self, run: RunDirectory) -> None:
        """Leave it in the run directory."""
        write_durably(run.end_file, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, run: RunDirectory) -> RunEnd | None:
        """The end of the last start; `None` while it runs, and when it was ended without a word."""
        end = read_record(run.end_file, cls)
        if end is None or end.error is None or end.run_dir is None:
            return end
        then = RunDirectory(Path(end.run_dir)).resume_command  # the command to go on is for where the run lies now
        error = replace(end.error, message=end.error.message.replace(then, run.resume_command))
        return end.model_copy(update={"error": error})


def read_elapsed_s(run: RunDirectory) -> float | None:
    """What a run that ended took, all its starts together; `None` where it left no word of its start or its end."""
    start, end = RunStart.read(run), RunEnd.read(run)
    return None if start is None or end is None else start.elapsed_s(end.ended_at_s)
