"""One look at a whole run: what the views draw, what `--json-progress` and `status --json` print."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from sana_wm.names import Stage

#: Version of the JSON; a new key keeps it, a changed or dropped one does not.
SNAPSHOT_VERSION = 1

StageState = Literal["off", "skipped", "done", "running", "stopped", "to come", "not asked"]
RunState = Literal["running", "stopping", "finished", "failed", "interrupted", "stopped"]


@dataclass(frozen=True)
class StageSnapshot:
    """One stage of a run.

    Attributes:
        stage: Its name.
        state: `off`: the manifest has none. `skipped`: done by an earlier start. `stopped`: begun, and ended early.
            `not asked`: to come, but not in this start (`--to`).
        seconds: What it took, or has taken so far, over all starts of the run that worked on it; `None` before that.
        expected_seconds: What it was expected to take as a whole, `None` where nothing is known.
    """

    stage: Stage
    state: StageState
    seconds: float | None = None
    expected_seconds: float | None = None


@dataclass(frozen=True)
class MemoryUse:
    """Memory of the running stage in bytes, `None` where the system cannot say.

    Attributes:
        process_bytes: What the system charges to the stage and its children.
        device_bytes: What the stage reports of its device.
        used_bytes: The figure held against the cap, the larger of the two.
        cap_bytes: `memory.cap_gib`.
    """

    process_bytes: int | None
    device_bytes: int | None
    used_bytes: int | None
    cap_bytes: int


@dataclass(frozen=True)
class RunError:
    """Why a run ended early."""

    message: str
    exit_code: int | None


@dataclass(frozen=True)
class RunSnapshot:
    """One look at a run.

    Attributes:
        run_dir: The run directory.
        name: The manifest's name.
        state: `stopping`: asked to, saving. `stopped`: nobody runs it, and it is not finished.
        time_s: Wall clock of this look.
        elapsed_s: All starts of the run together, without the times in which nothing ran.
        remaining_s: Until the end of the run, all stages counted; `None` while nothing is known.
        not_counted: Phases to come that are not in `remaining_s`, because nothing is known of them yet.
        guessed: Phases in `remaining_s` by a guess of the plan: nothing like them ran on this machine.
        stages: In order.
        stage: The running stage, or the one that ended early.
        phase: Its phase; `starting` before the first one, `saving` between and after them.
        step: Steps done of this phase; `None` for a phase that reports none.
        total: All its steps.
        seconds_per_step: Their mean, `None` before the second.
        phase_remaining_s: Until the last step of this phase.
        memory: Of the running stage.
        preview: Path of the last preview picture.
        note: What the running stage was last asked for, and why.
        error: Why the run ended early.
        video: Path of the result, once finished.
        remaining_low_s: The least that `remaining_s` may be: guesses may be wrong, and so may a pace of few steps.
        remaining_high_s: The most that it may be.
    """

    run_dir: str
    name: str
    state: RunState
    time_s: float
    elapsed_s: float | None
    remaining_s: float | None
    not_counted: tuple[str, ...]
    guessed: tuple[str, ...]
    stages: tuple[StageSnapshot, ...]
    stage: Stage | None
    phase: str | None
    step: int | None
    total: int | None
    seconds_per_step: float | None
    phase_remaining_s: float | None
    memory: MemoryUse
    preview: str | None
    note: str | None = None
    error: RunError | None = None
    video: str | None = None
    remaining_low_s: float | None = None
    remaining_high_s: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Its parts by name, seconds to the millisecond."""
        return {"version": SNAPSHOT_VERSION, **_rounded(asdict(self))}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
