"""How long the rest of a run will take: what was expected, corrected by what was seen. Pure: data in, data out."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sana_wm.names import SAVING, STARTING, Stage
from sana_wm.pipeline import phases_of
from sana_wm.progress.stage_progress import StageProgress

#: How much of the whole run's expected time the expectation itself weighs against what was seen: a slow first second
#: must not double the estimate, a slow first third must.
PRIOR_SHARE = 0.1
#: A guess may be wrong by this factor, either way: it knows the kind of device, not which one it is. The slowest Mac
#: with enough memory has a sixth of the fastest one's arithmetic.
FIRST_SPREAD = 6.0
#: What is left of that when so much of all that was guessed has been seen: kinds of work differ, the device is known.
LATER_SPREAD, SEEN_SHARE = 2.0, 0.1
#: A pace may be wrong by this share after one step, and by less after several: by its square root.
PACE_SPREAD = 0.3
#: No guess is so exact that its phase could not take this long: opening files, kernels that are made.
LEAST_S = 2.0
#: What a stage may take between and after its phases where no guess says so: hashes, joining and reading the video.
MOST_SAVING_S = 10.0

#: Seconds by stage and phase; `STARTING` and `SAVING` may be among the phases. What is missing is unknown.
Expected = Mapping[tuple[Stage, str], float]


@dataclass(frozen=True)
class Estimate:
    """What is left of a run.

    Attributes:
        remaining_s: Seconds until the end of all that is known, `None` when nothing is.
        range_s: The least and the most that it may be, by guesses that may be wrong and by a pace of few steps.
        not_counted: Phases to come that nothing is known of, such as `refiner transformer`.
        by_expectation: Phases to come, or running without a pace of their own, that go by their expectation.
    """

    remaining_s: float | None
    range_s: tuple[float, float] | None = None
    not_counted: tuple[str, ...] = ()
    by_expectation: tuple[tuple[Stage, str], ...] = ()


@dataclass(frozen=True)
class _Rest:
    """What is left of one phase, in seconds: likely, and the least and the most that it may be."""

    seconds: float
    least_s: float
    most_s: float

    def after(self, spent_s: float) -> _Rest:
        return _Rest(*(max(0.0, whole_s - spent_s) for whole_s in (self.seconds, self.least_s, self.most_s)))


def estimate(
    stages: Sequence[Stage],
    seen: Mapping[Stage, StageProgress],
    expected: Expected | None,
    now_s: float,
    guessed: Collection[tuple[Stage, str]] = (),
) -> Estimate:
    """Estimate the rest of a run.

    A phase that reports steps goes by its own pace as soon as it has one. Everything else goes by its expectation,
    times the ratio of what was seen so far to what had been expected of it.

    Args:
        stages: Those that run, in order.
        seen: Progress of those that have begun.
        expected: From earlier runs, or from a plan.
        now_s: Wall clock.
        guessed: Those of `expected` that are guesses.
    """
    outlook = _Outlook(stages, seen, expected or {}, now_s, frozenset(guessed))
    rests: list[_Rest] = []
    counted, not_counted = False, list[str]()
    by_expectation: list[tuple[Stage, str]] = []
    for stage in stages:
        progress = seen.get(stage)
        if progress is not None and progress.ended:
            continue
        for phase in _phases_left(stage, progress):
            rest = outlook.rest_of(stage, phase)
            if outlook.goes_by_expectation(stage, phase):
                by_expectation.append((stage, phase))
            if rest is not None:
                rests.append(rest)
                counted = counted or phase != STARTING
            elif phase != STARTING:
                not_counted.append(name_phase(stage, phase))
        rests.append(outlook.rest_of_saving(stage))
    if not counted and not_counted:
        return Estimate(None, None, tuple(not_counted), tuple(by_expectation))
    least_s, most_s = sum(one.least_s for one in rests), sum(one.most_s for one in rests)
    remaining_s = sum(one.seconds for one in rests)
    return Estimate(remaining_s, (least_s, most_s), tuple(not_counted), tuple(by_expectation))


def name_phase(stage: Stage, phase: str) -> str:
    """For people: `refiner text encoder`."""
    return f"{stage} {phase.replace('_', ' ')}"


class _Outlook:
    """What is seen and expected of a run at one moment; arguments as of `estimate`."""

    def __init__(
        self,
        stages: Sequence[Stage],
        seen: Mapping[Stage, StageProgress],
        expected: Expected,
        now_s: float,
        guessed: frozenset[tuple[Stage, str]],
    ) -> None:
        self._seen, self._expected, self._now_s, self._guessed = seen, expected, now_s, guessed
        self._pace = measure_pace(stages, seen, expected, now_s, guessed)
        shares = {key: share for key, share in _shares_seen(seen, now_s).items() if key in guessed}
        seen_s = sum(share * expected.get(key, 0.0) for key, share in shares.items())
        self._guess_pace: float | None = None  # until it is known on which device the guesses are
        if seen_s > 0 and seen_s >= SEEN_SHARE * sum(expected.get(key, 0.0) for key in guessed):
            self._guess_pace = sum(seen[stage].times_s(now_s)[phase] for stage, phase in shares) / seen_s

    def goes_by_expectation(self, stage: Stage, phase: str) -> bool:
        """Whether what is left of a phase goes by its expectation."""
        running = self._running(stage, phase)
        return (stage, phase) in self._expected and (running is None or running.rest_by_steps_s(self._now_s) is None)

    def rest_of(self, stage: Stage, phase: str) -> _Rest | None:
        """What is left of a phase to come, or of the running one; `None` when nothing is known of it."""
        running = self._running(stage, phase)
        if running is not None and (rest_s := running.rest_by_steps_s(self._now_s)) is not None:
            spread = 1 + PACE_SPREAD / math.sqrt(max(1, running.steps_seen))
            return _Rest(rest_s, rest_s / spread, rest_s * spread)
        whole = self._whole(stage, phase)
        if whole is not None:
            return whole if running is None else whole.after(running.phase_s(self._now_s))
        if running is not None or phase != STARTING or (start_s := _mean_start(self._seen)) is None:
            return None
        return _Rest(start_s, start_s, start_s)

    def rest_of_saving(self, stage: Stage) -> _Rest:
        """What is left of the time between and after the phases; nothing where nothing is known of it."""
        is_guessed = any(key[0] == stage for key in self._guessed)
        whole = self._whole(stage, SAVING) or _Rest(0.0, 0.0, MOST_SAVING_S if is_guessed else 0.0)
        progress = self._seen.get(stage)
        return whole if progress is None else whole.after(progress.times_s(self._now_s).get(SAVING, 0.0))

    def _running(self, stage: Stage, phase: str) -> StageProgress | None:
        progress = self._seen.get(stage)
        return progress if progress is not None and progress.phase == phase and not progress.ended else None

    def _whole(self, stage: Stage, phase: str) -> _Rest | None:
        """A phase from its begin, at the pace seen."""
        seconds = self._expected.get((stage, phase))
        if seconds is None:
            return None
        likely_s = seconds * self._pace
        if (stage, phase) not in self._guessed:
            return _Rest(likely_s, likely_s, likely_s)
        if self._guess_pace is None:
            least_s, most_s = seconds / FIRST_SPREAD, max(seconds, LEAST_S) * FIRST_SPREAD
            return _Rest(min(max(likely_s, least_s), most_s), least_s, most_s)
        likely_s = seconds * self._guess_pace
        return _Rest(likely_s, likely_s / LATER_SPREAD, max(likely_s, LEAST_S) * LATER_SPREAD)


def measure_pace(
    stages: Sequence[Stage],
    seen: Mapping[Stage, StageProgress],
    expected: Expected,
    now_s: float,
    guessed: Collection[tuple[Stage, str]] = (),
) -> float:
    """Seconds that passed for each second that had been expected, over all that is done; 1 when nothing is."""
    all_expected_s = sum(seconds for (stage, _), seconds in expected.items() if stage in stages)
    actual_s = expected_s = PRIOR_SHARE * all_expected_s
    for (stage, phase), share in _shares_seen(seen, now_s).items():
        if seconds := expected.get((stage, phase)):
            actual_s += seen[stage].times_s(now_s)[phase]
            expected_s += share * seconds
    pace = actual_s / expected_s if expected_s > 0 else 1.0
    for stage, progress in seen.items():
        elapsed_s, seconds = progress.phase_s(now_s), expected.get((stage, progress.phase))
        if progress.ended or progress.phase in (SAVING, *progress.partly_done) or not seconds:
            continue
        # One that takes longer than even that says so before it is over; one that was guessed may yet take far longer.
        is_overdue = elapsed_s > seconds * pace and (stage, progress.phase) not in guessed
        if is_overdue and progress.rest_by_steps_s(now_s) is None:
            pace = (actual_s + elapsed_s) / (expected_s + seconds)
    return pace


def _shares_seen(seen: Mapping[Stage, StageProgress], now_s: float) -> dict[tuple[Stage, str], float]:
    """How much of each phase is done, of those whose time says something: whole ones, and those with a pace."""
    shares: dict[tuple[Stage, str], float] = {}
    for stage, progress in seen.items():
        for phase in progress.spent_s:
            if phase not in progress.partly_done and (progress.ended or phase != SAVING):  # gaps add up to the end
                shares[stage, phase] = 1.0
        if progress.ended or progress.phase in (SAVING, *progress.partly_done):
            continue
        if (rest_s := progress.rest_by_steps_s(now_s)) is not None:
            elapsed_s = progress.phase_s(now_s)
            shares[stage, progress.phase] = elapsed_s / max(elapsed_s + rest_s, 1e-9)
    return shares


def _phases_left(stage: Stage, progress: StageProgress | None) -> tuple[str, ...]:
    """The running phase and those after it."""
    phases = phases_of(stage)
    if progress is None:
        return phases
    if progress.phase in phases:
        return phases[phases.index(progress.phase) :]
    last = max((phases.index(phase) for phase in progress.spent_s if phase in phases), default=-1)
    return phases[last + 1 :]


def _mean_start(seen: Mapping[Stage, StageProgress]) -> float | None:
    """What the starts so far took: every stage imports much the same."""
    starts = [progress.spent_s[STARTING] for progress in seen.values() if STARTING in progress.spent_s]
    return sum(starts) / len(starts) if starts else None
