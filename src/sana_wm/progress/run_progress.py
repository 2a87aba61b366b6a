"""A whole run as it goes: takes what the supervisor tells of each stage, hands snapshots to whoever shows them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

from sana_wm.durable import remove_file
from sana_wm.errors import InterruptedRunError, SanaWMError
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.progress.eta import estimate, name_phase
from sana_wm.progress.idle import Idle
from sana_wm.progress.run_record import EndState, RunAsked, RunEnd, RunStart
from sana_wm.progress.snapshot import MemoryUse, RunError, RunSnapshot, RunState, StageSnapshot, StageState
from sana_wm.progress.stage_progress import StageProgress
from sana_wm.runs.decisions import Action
from sana_wm.runs.run_directory import RunDirectory

ProgressEvent = Literal["run_started", "stage_started", "progress", "shrinking", "stopping", "stage_ended", "run_ended"]

STOPPING = "stopping: its step ends and is saved first; Ctrl-C again ends it at once"


class Listener(Protocol):
    """Shows a run; see `sana_wm.cli.progress_view`."""

    def __call__(self, event: ProgressEvent, snapshot: RunSnapshot) -> None:
        """Take in what happened and where the run is now."""
        ...


class RunProgress:
    """The state of a run; the supervisor's view.

    Args:
        run: The run directory.
        manifest: What runs.
        start: What this start means to do.
        listeners: Called with every change.
        clock: Wall clock in seconds.
    """

    def __init__(
        self,
        run: RunDirectory,
        manifest: RunManifest,
        start: RunStart,
        listeners: Sequence[Listener] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._run, self._manifest, self._start = run, manifest, start
        self._listeners, self._clock = listeners, clock
        self._seen: dict[Stage, StageProgress] = {}
        self._state: RunState = "running"
        self._error: RunError | None = None
        self._note: str | None = None
        self._adds_nothing = False
        self._ended_at_s: float | None = None

    @contextlib.contextmanager
    def reporting(self) -> Generator[None]:
        """Tell of the run's begin, and of its end, well or with an error; both are left in the directory, too.

        Raises:
            HandoffError: The directory cannot be written.
        """
        before = RunEnd.read(self._run)
        # A start that finds everything done leaves what the one says that did it.
        self._adds_nothing = not self._start.stages and before is not None and before.state == "finished"
        if self._adds_nothing:
            self._ended_at_s = self._start.started_at_s
        else:
            self._start.write(self._run)
        self._tell("run_started")
        try:
            yield
        except BaseException as error:
            interrupted = isinstance(error, InterruptedRunError | KeyboardInterrupt)
            code = error.exit_code if isinstance(error, SanaWMError) else 130 if interrupted else 1
            self._end("interrupted" if interrupted else "failed", RunError(str(error) or type(error).__name__, code))
            raise
        self._end("stopped" if self._start.later else "finished", None)

    def stage_started(self, progress: StageProgress) -> None:
        """A stage begins."""
        stage = progress.stage
        paused, self._note = self._seen.get(stage), None
        stages_s = dict(self._start.stages_s)
        if paused is not None:  # its process left for a pause; another goes on
            stages_s[stage] = self.times_s(stage)
        self._seen[stage] = progress
        self._update(stages_s=stages_s, begun_s=self._start.begun_s | {stage: progress.started_at_s})
        remove_file(self._run.asked_file)
        self._tell("stage_started")

    def updated(self, progress: StageProgress) -> None:
        """Something changed."""
        self._seen[progress.stage] = progress
        self._tell("progress")

    def stage_asked_to_stop(self, progress: StageProgress, why: str | None) -> None:
        """A stage was asked to save and leave; `why` unless the user wants it so."""
        self._seen[progress.stage] = progress
        self._state = "stopping"
        self._asked(STOPPING if why is None else f"{why}: asked to save and leave")
        self._tell("stopping")

    def stage_asked_to_shrink(self, progress: StageProgress, why: str) -> None:
        """A stage was asked to take less memory and to save."""
        self._seen[progress.stage] = progress
        self._asked(f"{why}: asked to take less memory and to save")
        self._tell("shrinking")

    def stage_ended(self, progress: StageProgress) -> None:
        """A stage is done, and its process gone."""
        now_s = round(self._clock(), 3)
        progress.end(now_s)
        self._update(ended_s=self._start.ended_s | {progress.stage: now_s})
        self._tell("stage_ended")

    def paused(self, why: str) -> None:
        """Nothing runs from here on, until `went_on`."""
        self._update(idle=(*self._start.idle, Idle(round(self._clock(), 3))))
        self._asked(why)
        self._tell("progress")

    def went_on(self) -> None:
        """The pause is over."""
        *before, last = self._start.idle
        self._update(idle=(*before, last._replace(end_s=round(self._clock(), 3))))
        if self._state != "stopping":
            self._note = None
            remove_file(self._run.asked_file)

    def slept(self, seconds: float) -> None:
        """The machine has slept for so long, until now."""
        now_s = self._clock()
        self._update(idle=(*self._start.idle, Idle(round(now_s - seconds, 3), round(now_s, 3))))

    def times_s(self, stage: Stage) -> dict[str, float]:
        """Seconds of a stage by phase, over all processes that worked on it."""
        times_s = self._start.times_of(stage, self._seen.get(stage), self._clock())
        return {phase: round(seconds, 3) for phase, seconds in times_s.items()}

    def stop_clock(self) -> float:
        """All is done: seconds of all starts of the run together, and nothing counts from here on."""
        self._ended_at_s = self._now_s()
        return self._start.elapsed_s(self._ended_at_s)

    def _update(self, **changes: Any) -> None:
        """Change what this start leaves of itself; a run does not fail because it cannot be kept."""
        self._start = self._start.model_copy(update=changes)
        for progress in self._seen.values():
            progress.idle = self._start.idle
        with contextlib.suppress(SanaWMError):
            self._start.update(self._run)

    def _asked(self, note: str) -> None:
        self._note = note
        with contextlib.suppress(SanaWMError):  # `status` is then no wiser; that is no reason to end
            RunAsked(state="stopping" if self._state == "stopping" else "running", note=note).write(self._run)

    def _end(self, state: EndState, error: RunError | None) -> None:
        self._state, self._error, self._note = state, error, None
        self._ended_at_s = self._now_s()
        if state != "finished" or not self._adds_nothing:
            with contextlib.suppress(SanaWMError):  # the volume may be gone; that is not what ended the run
                if self._adds_nothing:
                    self._start.write(self._run)
                RunEnd.of(self._run, self._now_s(), state, error).write(self._run)
        self._tell("run_ended")

    def _now_s(self) -> float:
        return self._clock() if self._ended_at_s is None else self._ended_at_s

    def snapshot(self) -> RunSnapshot:
        """Where the run is now."""
        now_s = self._now_s()
        look = take_snapshot(
            self._run, self._manifest, self._start, self._seen, self._state, now_s=now_s, error=self._error
        )
        return replace(look, note=self._note)

    def _tell(self, event: ProgressEvent) -> None:
        if self._listeners:
            snapshot = self.snapshot()
            for listener in self._listeners:
                listener(event, snapshot)


def take_snapshot(
    run: RunDirectory,
    manifest: RunManifest,
    start: RunStart,
    seen: dict[Stage, StageProgress],
    state: RunState,
    *,
    now_s: float,
    error: RunError | None = None,
) -> RunSnapshot:
    """Put together one look at a run.

    Args:
        run: The run directory.
        manifest: What runs.
        start: What this start means to do.
        seen: Progress of the stages that have begun.
        state: How the run is.
        now_s: Wall clock.
        error: Why it ended early.
    """
    under_way = state in ("running", "stopping")
    left = estimate(start.stages, seen, start.expected, now_s, start.guessed) if under_way else None
    range_s = left.range_s if left is not None and left.range_s is not None else (None, None)
    current = next((progress for progress in seen.values() if not progress.ended), None)
    sample = current.sample if current is not None and under_way else None
    return RunSnapshot(
        run_dir=str(run.path),
        name=manifest.name,
        state=state,
        time_s=now_s,
        elapsed_s=start.elapsed_s(now_s),
        remaining_s=left and left.remaining_s,
        remaining_low_s=range_s[0],
        remaining_high_s=range_s[1],
        not_counted=left.not_counted if left else (),
        guessed=tuple(name_phase(*key) for key in left.by_expectation if key in start.guessed) if left else (),
        stages=tuple(
            _stage_snapshot(stage, start, seen.get(stage), now_s, under_way=under_way) for stage in start.actions
        ),
        stage=current and current.stage,
        phase=current and current.phase,
        step=current.step if current and current.total else None,
        total=current.total if current and current.total else None,
        seconds_per_step=current and current.seconds_per_step,
        phase_remaining_s=current and current.remaining_s,
        memory=MemoryUse(
            process_bytes=sample and sample.process_bytes,
            device_bytes=sample and sample.device_bytes,
            used_bytes=(sample and sample.used_bytes) or None,
            cap_bytes=manifest.memory.cap_bytes,
        ),
        preview=next((seen[stage].preview for stage in reversed(seen) if seen[stage].preview), None),
        error=error,
        video=str(run.video_file) if state == "finished" else None,
    )


def _stage_snapshot(
    stage: Stage, start: RunStart, progress: StageProgress | None, now_s: float, *, under_way: bool
) -> StageSnapshot:
    expected_s = start.expected_of(stage)
    seconds = sum(start.times_of(stage, progress, now_s).values())
    if expected_s is not None:  # of all processes, as `seconds` are
        expected_s += sum(start.stages_s.get(stage, {}).values())
    if progress is not None:
        state: StageState = "done" if progress.ended else "running" if under_way else "stopped"
        return StageSnapshot(stage, state, seconds, expected_s)
    states: dict[Action, StageState] = {"run": "to come", "skip": "skipped", "off": "off", "later": "not asked"}
    return StageSnapshot(stage, states[start.actions[stage]], seconds or None, expected_s)
