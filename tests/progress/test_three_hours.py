"""The time left of a run of three hours, replayed: how its events came to be stands in `three_hours.py`."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.progress.recording import RecordedRun
from tests.progress.three_hours import FOLDER, RUNS, make

from sana_wm.names import Stage
from sana_wm.progress.eta import Estimate, Expected, estimate
from sana_wm.progress.idle import worked_s

LOOK_EVERY_S = 20.0
#: A guess that knows the kind of device and not which one it is.
WRONG_BY = (1 / 5, 1 / 2, 1.0, 2.0, 5.0)


def looks(
    run: RecordedRun, expected: Expected, guessed: frozenset[tuple[Stage, str]] = frozenset()
) -> list[tuple[float, Estimate]]:
    """Seconds worked and what was said to be left, every 20 s of the clock while the machine was awake."""
    found: list[tuple[float, Estimate]] = []
    now_s = run.started_at_s
    while (worked := worked_s(run.started_at_s, now_s, run.idle)) < run.seconds:
        if not any(one.begin_s <= now_s <= (one.end_s or 0.0) for one in run.idle):
            found.append((worked, estimate(tuple(run.events), run.seen_by(now_s), expected, now_s, guessed)))
        now_s += LOOK_EVERY_S
    return found


def remaining_s(left: Estimate) -> float:
    assert left.remaining_s is not None
    return left.remaining_s


def range_s(left: Estimate) -> tuple[float, float]:
    assert left.range_s is not None
    return left.range_s


@pytest.mark.parametrize("name", RUNS)
def test_the_recording_is_what_its_maker_makes(name: str) -> None:
    assert json.loads((FOLDER / f"{name}.json").read_text()) == make(**RUNS[name])


@pytest.mark.parametrize("now", ["three_hours_cool", "three_hours_hot"])
@pytest.mark.parametrize("earlier", ["three_hours_cool", "three_hours_hot"])
def test_from_a_third_on_the_run_ends_within_a_tenth_of_what_is_said(
    recorded: dict[str, RecordedRun], tmp_path: Path, earlier: str, now: str
) -> None:
    run = recorded[now]
    for worked, left in looks(run, recorded[earlier].history(tmp_path)):
        if worked >= run.seconds / 3:
            assert worked + remaining_s(left) == pytest.approx(run.seconds, rel=0.1), f"after {worked:.0f} s"


@pytest.mark.parametrize("now", ["three_hours_cool", "three_hours_hot"])
@pytest.mark.parametrize("wrong_by", [1 / 2, 1.0, 2.0])
def test_so_does_a_first_run_of_which_all_was_guessed(
    recorded: dict[str, RecordedRun], now: str, wrong_by: float
) -> None:
    run = recorded[now]
    guess = {key: seconds * wrong_by for key, seconds in run.guess_s.items()}
    for worked, left in looks(run, guess, frozenset(guess)):
        if worked >= run.seconds / 3:
            assert worked + remaining_s(left) == pytest.approx(run.seconds, rel=0.1), f"after {worked:.0f} s"


@pytest.mark.parametrize("now", ["three_hours_cool", "three_hours_hot"])
@pytest.mark.parametrize("wrong_by", WRONG_BY)
def test_the_range_of_a_first_run_holds_the_truth_and_its_end_does_not_grow_for_minutes(
    recorded: dict[str, RecordedRun], now: str, wrong_by: float
) -> None:
    run = recorded[now]
    guess = {key: seconds * wrong_by for key, seconds in run.guess_s.items()}
    seen = looks(run, guess, frozenset(guess))
    for worked, left in seen:
        low_s, high_s = range_s(left)
        truth_s = run.seconds - worked
        # The last phases know of no saving yet: seconds.
        assert low_s - 10 <= truth_s <= high_s + 10, f"after {worked:.0f} s"
    assert longest_growth_s([(worked, range_s(left)[1]) for worked, left in seen]) <= 2 * 60


def longest_growth_s(said: list[tuple[float, float]]) -> float:
    """The longest time over which what is said to be left grew from look to look."""
    longest_s = lasted_s = 0.0
    for (before, left_before_s), (after, left_after_s) in pairwise(said):
        lasted_s = lasted_s + after - before if left_after_s > left_before_s else 0.0
        longest_s = max(longest_s, lasted_s)
    return longest_s


def test_a_night_asleep_is_no_pace(recorded: dict[str, Any], tmp_path: Path) -> None:
    run = recorded["three_hours_hot"]
    assert run.idle
    asleep_s = run.idle[0].end_s - run.idle[0].begin_s
    assert sum(run.history(tmp_path).values()) == pytest.approx(run.seconds, rel=0.001)
    now_s = run.idle[0].end_s + 600
    known = remaining_s(estimate(tuple(run.events), run.seen_by(now_s), {}, now_s))
    awake = run.__class__(run.metrics, run.events, run.begun_s, run.ended_s)
    fooled = remaining_s(estimate(tuple(run.events), awake.seen_by(now_s), {}, now_s))
    assert fooled > known + asleep_s  # had nobody noticed
