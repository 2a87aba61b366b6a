"""How long the rest of a run will take: what was expected, corrected by what was seen. Pure: data in, data out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sana_wm.names import SAVING, STARTING, Stage
from sana_wm.pipeline import phases_of
from sana_wm.progress.stage_progress import StageProgress

#: How much of the whole run's expected time the expectation itself weighs against what was seen: a slow first second
#: must not double the estimate, a slow first third must.
PRIOR_SHARE = 0.1

#: Seconds by stage and phase; `STARTING` and `SAVING` may be among the phases. What is missing is unknown.
Expected = Mapping[tuple[Stage, str], float]


@dataclass(frozen=True)
class Estimate:
    """What is left of a run.

    Attributes:
        remaining_s: Seconds until the end of all that is known, `None` when nothing is.
        not_counted: Phases to come that nothing is known of, such as `refiner transformer`.
        by_expectation: Phases to come, or running without a pace of their own, that go by their expectation.
    """

    remaining_s: float | None
    not_counted: tuple[str, ...] = ()
    by_expectation: tuple[tuple[Stage, str], ...] = ()


def estimate(
    stages: Sequence[Stage], seen: Mapping[Stage, StageProgress], expected: Expected | None, now_s: float
) -> Estimate:
    """Estimate the rest of a run.

    A phase that reports steps goes by its own pace as soon as it has one. Everything else goes by its expectation,
    times the ratio of what was seen so far to what had been expected of it.

    Args:
        stages: Those that run, in order.
        seen: Progress of those that have begun.
        expected: From earlier runs, or from a plan.
        now_s: Wall clock.
    """
    known = expected or {}
    pace = measure_pace(stages, seen, known, now_s)
    remaining_s, counted, not_counted = 0.0, False, list[str]()
    by_expectation: list[tuple[Stage, str]] = []
    for stage in stages:
        progress = seen.get(stage)
        if progress is not None and progress.ended:
            continue
        for phase in _phases_left(stage, progress):
            running = progress if progress is not None and phase == progress.phase else None
            if (stage, phase) in known and (running is None or _rest_by_steps(running, now_s) is None):
                by_expectation.append((stage, phase))
            if running is not None:
                rest_s = _rest_of_running(running, known.get((stage, phase)), pace, now_s)
            elif (seconds := known.get((stage, phase))) is not None:
                rest_s = seconds * pace
            else:
                rest_s = _mean_start(seen) if phase == STARTING else None
            if rest_s is not None:
                remaining_s += rest_s
                counted = counted or phase != STARTING
            elif phase != STARTING:
                not_counted.append(name_phase(stage, phase))
        remaining_s += _rest_of_saving(progress, known.get((stage, SAVING), 0.0) * pace, now_s)
    return Estimate(remaining_s if counted or not not_counted else None, tuple(not_counted), tuple(by_expectation))


def name_phase(stage: Stage, phase: str) -> str:
    """For people: `refiner text encoder`."""
    return f"{stage} {phase.replace('_', ' ')}"


def measure_pace(
    stages: Sequence[Stage], seen: Mapping[Stage, StageProgress], expected: Expected, now_s: float
) -> float:
    """Seconds that passed for each second that had been expected, over all that is done; 1 when nothing is."""
    all_expected_s = sum(seconds for (stage, _), seconds in expected.items() if stage in stages)
    actual_s = expected_s = PRIOR_SHARE * all_expected_s
    for stage, progress in seen.items():
        for phase, spent_s in progress.spent_s.items():
            seconds = expected.get((stage, phase))
            whole = progress.ended or phase != SAVING  # gaps add up until the stage is gone
            if seconds is not None and whole and phase not in progress.partly_done:
                actual_s, expected_s = actual_s + spent_s, expected_s + seconds
        seconds = expected.get((stage, progress.phase))
        if seconds is not None and not progress.ended and progress.phase not in (SAVING, *progress.partly_done):
            elapsed_s = max(0.0, now_s - progress.phase_started_at_s)  # a clock may be set back
            rest_s = _rest_by_steps(progress, now_s)
            if rest_s is not None:  # the part of it that is done
                actual_s += elapsed_s
                expected_s += seconds * elapsed_s / max(elapsed_s + rest_s, 1e-9)
            elif elapsed_s > seconds:
                actual_s, expected_s = actual_s + elapsed_s, expected_s + seconds
    return actual_s / expected_s if expected_s > 0 else 1.0


def _phases_left(stage: Stage, progress: StageProgress | None) -> tuple[str, ...]:
    """The running phase and those after it."""
    phases = phases_of(stage)
    if progress is None:
        return phases
    if progress.phase in phases:
        return phases[phases.index(progress.phase) :]
    last = max((phases.index(phase) for phase in progress.spent_s if phase in phases), default=-1)
    return phases[last + 1 :]


def _rest_of_running(progress: StageProgress, expected_s: float | None, pace: float, now_s: float) -> float | None:
    by_steps = _rest_by_steps(progress, now_s)
    if by_steps is not None:
        return by_steps
    if expected_s is None:
        return None
    return max(0.0, expected_s * pace - max(0.0, now_s - progress.phase_started_at_s))


def _rest_by_steps(progress: StageProgress, now_s: float) -> float | None:
    if progress.remaining_s is None or progress.reported_at_s is None:
        return None
    return max(0.0, progress.remaining_s - max(0.0, now_s - progress.reported_at_s))


def _rest_of_saving(progress: StageProgress | None, expected_s: float, now_s: float) -> float:
    if progress is None:
        return expected_s
    spent_s = progress.spent_s.get(SAVING, 0.0)
    if progress.phase == SAVING:
        spent_s += max(0.0, now_s - progress.phase_started_at_s)
    return max(0.0, expected_s - spent_s)


def _mean_start(seen: Mapping[Stage, StageProgress]) -> float | None:
    """What the starts so far took: every stage imports much the same."""
    starts = [progress.spent_s[STARTING] for progress in seen.values() if STARTING in progress.spent_s]
    return sum(starts) / len(starts) if starts else None
