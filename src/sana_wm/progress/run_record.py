"""What a start of a run leaves about itself: what it meant to do, and how it ended; `sana-wm status` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from sana_wm.durable import remove_file, write_durably
from sana_wm.names import Stage
from sana_wm.progress.eta import Expected
from sana_wm.progress.snapshot import RunError
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


class RunStart(OpenRecord):
    """What one start of a run means to do.

    Attributes:
        started_at_s: Wall clock.
        actions: By stage.
        expected_s: Phases of which anything is known.
    """

    started_at_s: WallClock
    actions: dict[Stage, Action]
    expected_s: tuple[ExpectedPhase, ...] = ()

    @classmethod
    def of(
        cls,
        decisions: Sequence[StageDecision],
        expected_s: Expected,
        now_s: float,
        guessed: frozenset[tuple[Stage, str]] = frozenset(),
    ) -> RunStart:
        """The start that carries out decisions."""
        return cls(
            started_at_s=now_s,
            actions={decision.stage: decision.action for decision in decisions},
            expected_s=tuple(
                ExpectedPhase(*key, round(seconds, 3), key in guessed) for key, seconds in expected_s.items()
            ),
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

    def write(self, run: RunDirectory) -> None:
        """Leave it in the run directory."""
        remove_file(run.end_file)
        remove_file(run.asked_file)
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
