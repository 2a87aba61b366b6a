from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_wm.names import SAVING, Stage
from sana_wm.pipeline import phases_of
from sana_wm.progress.eta import estimate, measure_pace
from sana_wm.progress.stage_progress import StageProgress, replay
from sana_wm.runs.events import Event, PhaseEnd, PhaseStart, StepDone

#: Of a run without preview.
STAGES: tuple[Stage, ...] = ("stage1", "refiner", "vae_decode")
HOUR_RUN: dict[tuple[Stage, str], float] = {
    ("stage1", "starting"): 10.0,
    ("stage1", "text_encoder"): 20.0,
    ("stage1", "vae_encoder"): 10.0,
    ("stage1", "transformer"): 2400.0,
    ("refiner", "starting"): 10.0,
    ("refiner", "text_encoder"): 60.0,
    ("refiner", "connectors"): 10.0,
    ("refiner", "transformer"): 600.0,
    ("vae_decode", "starting"): 10.0,
    ("vae_decode", "vae_decoder"): 300.0,
    ("vae_decode", SAVING): 20.0,
}


def begin(phase: str, at_s: float) -> PhaseStart:
    return PhaseStart(time_s=at_s, phase=phase)


def end(phase: str, at_s: float) -> PhaseEnd:
    return PhaseEnd(time_s=at_s, name=phase)


def step(number: int, total: int, at_s: float) -> StepDone:
    return StepDone(time_s=at_s, step=number, total=total)


@pytest.mark.parametrize(("earlier", "now"), [("quiet", "loaded"), ("quiet", "quiet"), ("loaded", "loaded")])
def test_from_a_third_on_a_recorded_run_ends_within_a_tenth_of_what_is_said(
    recorded: dict[str, Any], tmp_path: Path, earlier: str, now: str
) -> None:
    expected, run = recorded[earlier].history(tmp_path), recorded[now]
    for percent in range(34, 101):
        now_s, seen = run.seen_at(percent / 100)
        remaining_s = estimate(STAGES, seen, expected, now_s).remaining_s
        assert remaining_s is not None
        assert percent / 100 * run.seconds + remaining_s == pytest.approx(run.seconds, rel=0.1), percent


def test_before_anything_was_seen_the_whole_expectation_is_left() -> None:
    assert estimate(STAGES, {}, HOUR_RUN, 0.0).remaining_s == pytest.approx(sum(HOUR_RUN.values()))


def test_without_expectations_only_a_phase_that_reports_steps_is_known_and_the_others_are_named() -> None:
    assert estimate(STAGES, {}, None, 0.0).remaining_s is None
    events = [begin("transformer", 5.0), step(1, 11, 10.0), step(2, 11, 12.0)]
    left = estimate(STAGES, {"stage1": replay("stage1", events, started_at_s=0.0)}, None, 12.5)
    assert left.remaining_s == pytest.approx(9 * 2.0 - 0.5 + 2 * 5.0)  # two more starts like the one that was seen
    assert left.not_counted == (
        "refiner text encoder",
        "refiner connectors",
        "refiner transformer",
        "vae_decode vae decoder",
    )


def test_a_slow_start_does_not_double_the_estimate_and_a_slow_first_third_nearly_does() -> None:
    slow_start = replay("stage1", [begin("text_encoder", 40.0)], started_at_s=0.0)  # 10 s were expected
    assert measure_pace(STAGES, {"stage1": slow_start}, HOUR_RUN, 40.0) < 1.1
    slow = replay("stage1", [begin("transformer", 40.0), end("transformer", 4840.0)], started_at_s=0.0, ended_at_s=4840)
    assert 1.8 < measure_pace(STAGES, {"stage1": slow}, HOUR_RUN, 4840.0) < 2.0


def test_a_phase_that_goes_on_from_a_checkpoint_says_nothing_of_the_pace() -> None:
    events: list[Event] = [begin("transformer", 10.0), step(55, 60, 60.0), step(56, 60, 100.0), step(60, 60, 260.0)]
    events.append(end("transformer", 260.0))
    whole = replay("stage1", events, started_at_s=0.0, ended_at_s=260.0)
    assert whole.partly_done == {"transformer"}
    assert measure_pace(STAGES, {"stage1": whole}, HOUR_RUN, 260.0) == pytest.approx(1.0, abs=0.01)


def test_phases_that_a_resumed_start_skips_are_not_waited_for() -> None:
    stage1 = replay("stage1", [begin("transformer", 10.0)], started_at_s=0.0)
    left = estimate(("stage1",), {"stage1": stage1}, HOUR_RUN, 10.0)
    assert left.remaining_s == pytest.approx(2400.0)


def test_between_two_phases_the_next_one_is_what_is_left() -> None:
    events = [begin("text_encoder", 10.0), end("text_encoder", 30.0)]
    left = estimate(("stage1",), {"stage1": replay("stage1", events, started_at_s=0.0)}, HOUR_RUN, 30.0)
    assert left.remaining_s == pytest.approx(2410.0)


@given(
    waits=st.lists(st.floats(0.0, 5000.0), min_size=8, max_size=8),
    known=st.sets(st.sampled_from(sorted(HOUR_RUN))),
    late_s=st.floats(0.0, 1e5),
)
def test_whatever_happens_the_estimate_is_a_time_to_come(
    waits: list[float], known: set[tuple[Stage, str]], late_s: float
) -> None:
    now_s = 0.0
    seen: dict[Stage, StageProgress] = {}
    for stage in STAGES:
        seen[stage] = StageProgress(stage, started_s=0.0, started_at_s=now_s)
        for phase, wait_s in zip(phases_of(stage)[1:], waits, strict=False):
            seen[stage].apply(begin(phase, now_s))
            for number in range(1, 4):
                seen[stage].apply(step(number, 4, now_s + wait_s * number / 4))
            left = estimate(STAGES, seen, {key: HOUR_RUN[key] for key in known}, now_s + wait_s + late_s)
            assert left.remaining_s is None or 0.0 <= left.remaining_s < float("inf")
            now_s += wait_s
            seen[stage].apply(end(phase, now_s))
        seen[stage].end(now_s)
    assert estimate(STAGES, seen, HOUR_RUN, now_s).remaining_s == 0.0


def test_a_phase_goes_by_its_expectation_until_it_has_a_pace_of_its_own() -> None:
    events = [begin("transformer", 10.0), step(1, 60, 50.0)]
    begun = estimate(("stage1",), {"stage1": replay("stage1", events, started_at_s=0.0)}, HOUR_RUN, 50.0)
    assert begun.by_expectation == (("stage1", "transformer"),)
    events.append(step(2, 60, 90.0))
    paced = estimate(("stage1",), {"stage1": replay("stage1", events, started_at_s=0.0)}, HOUR_RUN, 90.0)
    assert paced.by_expectation == ()
    assert paced.remaining_s == pytest.approx(58 * 40.0)
