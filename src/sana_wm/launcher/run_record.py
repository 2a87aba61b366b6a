"""What a start of a run leaves about itself: what it meant to do, and how it ended; `sana-wm status` reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from sana_wm.durable import write_durably
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.launcher.decisions import Action, StageDecision
from sana_wm.launcher.eta import Expected
from sana_wm.launcher.snapshot import RunError
from sana_wm.names import Stage, stage_named

EndState = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True)
class RunStart:
    """What one start of a run means to do.

    Attributes:
        started_at_s: Wall clock.
        actions: By stage.
        expected_s: Seconds by stage and phase, where anything is known.
        guessed: Those of them that nothing on this machine was measured for.
    """

    started_at_s: float
    actions: dict[Stage, Action]
    expected_s: Expected = field(default_factory=dict)
    guessed: frozenset[tuple[Stage, str]] = frozenset()

    @classmethod
    def of(
        cls,
        decisions: Sequence[StageDecision],
        expected_s: Expected,
        now_s: float,
        guessed: frozenset[tuple[Stage, str]] = frozenset(),
    ) -> RunStart:
        """The start that carries out decisions."""
        actions: dict[Stage, Action] = {decision.stage: decision.action for decision in decisions}
        return cls(now_s, actions, dict(expected_s), guessed)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages that run."""
        return tuple(stage for stage, action in self.actions.items() if action == "run")

    def expected_of(self, stage: Stage) -> float | None:
        """Seconds of a whole stage; `None` unless something is known of it."""
        known = [seconds for (other, _), seconds in self.expected_s.items() if other == stage]
        return sum(known) if known else None

    def write(self, run: RunDirectory) -> None:
        """Leave it in the run directory."""
        rows = [[*key, round(seconds, 3), key in self.guessed] for key, seconds in self.expected_s.items()]
        run.end_file.unlink(missing_ok=True)
        run.asked_file.unlink(missing_ok=True)
        content = {"started_at_s": self.started_at_s, "actions": self.actions, "expected_s": rows}
        write_durably(run.start_file, json.dumps(content, indent=2) + "\n")

    @classmethod
    def read(cls, run: RunDirectory) -> RunStart | None:
        """The last start of a run directory; `None` when there is none that can be read."""
        try:
            content = json.loads(run.start_file.read_text(encoding="utf-8"))
            actions: dict[Stage, Action] = {
                stage: action for name, action in content["actions"].items() if (stage := stage_named(name))
            }
            rows: list[tuple[tuple[Stage, str], float, bool]] = [
                ((stage, str(phase)), float(seconds), bool(is_guess))
                for name, phase, seconds, is_guess in content["expected_s"]
                if (stage := stage_named(name))
            ]
            guessed = frozenset(key for key, _, is_guess in rows if is_guess)
            return cls(float(content["started_at_s"]), actions, {key: seconds for key, seconds, _ in rows}, guessed)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass(frozen=True)
class RunAsked:
    """What a running stage was last asked for.

    Attributes:
        state: `stopping` when it shall leave.
        note: In words.
    """

    state: Literal["running", "stopping"]
    note: str

    def write(self, run: RunDirectory) -> None:
        """Leave it in the run directory, until the next stage begins."""
        write_durably(run.asked_file, json.dumps({"state": self.state, "note": self.note}) + "\n")

    @classmethod
    def read(cls, run: RunDirectory) -> RunAsked | None:
        """What the running stage was last asked for; `None` when nothing was."""
        try:
            content = json.loads(run.asked_file.read_text(encoding="utf-8"))
            return cls("stopping" if content["state"] == "stopping" else "running", str(content["note"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True)
class RunEnd:
    """How a start of a run ended.

    Attributes:
        ended_at_s: Wall clock.
        state: Well, with an error, or because the user asked.
        error: Why, unless it is finished.
    """

    ended_at_s: float
    state: EndState
    error: RunError | None

    def write(self, run: RunDirectory) -> None:
        """Leave it in the run directory."""
        error = self.error and {"message": self.error.message, "exit_code": self.error.exit_code}
        content = {"ended_at_s": self.ended_at_s, "state": self.state, "error": error, "run_dir": str(run.path)}
        write_durably(run.end_file, json.dumps(content, indent=2) + "\n")

    @classmethod
    def read(cls, run: RunDirectory) -> RunEnd | None:
        """The end of the last start; `None` while it runs, and when it was ended without a word."""
        try:
            content: dict[str, Any] = json.loads(run.end_file.read_text(encoding="utf-8"))
            error = content["error"] and RunError(str(content["error"]["message"]), content["error"]["exit_code"])
            if error and "run_dir" in content:  # the command to go on is for where the run lies now
                then = RunDirectory(Path(content["run_dir"])).resume_command
                error = replace(error, message=error.message.replace(then, run.resume_command))
            return cls(float(content["ended_at_s"]), cast("EndState", content["state"]), error)
        except (OSError, ValueError, KeyError, TypeError):
            return None
