"""How long? Plan and run ask one place."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sana_wm.manifest.loading import load_manifest
from sana_wm.names import SAVING, STARTING, Stage
from sana_wm.planning.cap import settle_cap
from sana_wm.planning.device import Device
from sana_wm.planning.history import History, PhaseTime
from sana_wm.planning.past_runs import PastRun
from sana_wm.planning.phase import PhaseForecast
from sana_wm.planning.plan import plan_run
from sana_wm.planning.times import GUESSED_STARTING_S, Duration, Times
from sana_wm.preflight.checks import resolve_manifest
from sana_wm.progress.eta import estimate
from sana_wm.progress.run_record import RunStart
from sana_wm.runs.decisions import StageDecision
from sana_wm.runs.run_directory import RunDirectory

#: Of the tiny manifest, which has no preview.
STAGES: tuple[Stage, ...] = ("stage1", "refiner", "vae_decode")
CPU = Device("cpu", platform.machine(), 2**35, "2.13.0")
TRANSFORMER: tuple[Stage, str] = ("stage1", "transformer")


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "cache" / "history.jsonl")


def times(history: History, *seconds: float, **where: Any) -> Times:
    past = [PastRun(Path(str(number)), {TRANSFORMER: one}, **where) for number, one in enumerate(seconds)]
    return Times(past, history, CPU, "float32")


def test_runs_of_the_same_work_come_first_then_this_machine_s_phases_then_a_guess(history: History) -> None:
    work = PhaseForecast(*TRANSFORMER, "", 0, 0, 0, read_bytes=0, parameters=0, tflop=10.0, plan={})
    guess = times(history).of_phase(work)
    assert not guess.measured
    assert guess.seconds == pytest.approx(10 / 0.05)
    history.add([PhaseTime(CPU.name, "float32", *TRANSFORMER, 5.0, 40.0)])
    scaled = times(history).of_phase(work)
    assert (scaled.seconds, scaled.measured) == (80.0, True)
    assert times(history, 70.0).of_phase(work).seconds == 70.0
    assert times(history, 70.0, device_kinds=frozenset({"cuda"})).of_phase(work).seconds == 80.0
    assert times(history, 70.0, processor="another").of_phase(work).seconds == 80.0


def test_it_is_the_median_of_the_newest_five(history: History) -> None:
    found = times(history, 10.0, 99.0, 11.0, 12.0, 13.0, 5000.0, 5000.0, 5000.0).of_same_work(*TRANSFORMER)
    assert found is not None
    assert found.seconds == 12.0


def test_older_runs_are_not_even_read(history: History) -> None:
    def past() -> Any:
        yield from [PastRun(Path("new"), {TRANSFORMER: 1.0})] * 5
        pytest.fail("a sixth run was asked for")

    Times(past(), history, CPU, "float32")


def test_what_a_stage_takes_outside_its_phases_is_guessed_as_a_whole_and_measured_in_parts(history: History) -> None:
    nothing = times(history)
    assert nothing.of_starting("refiner").seconds == GUESSED_STARTING_S
    assert nothing.of_saving("refiner") is None
    past = [PastRun(Path("one"), {("refiner", STARTING): 3.0, ("refiner", SAVING): 2.0})]
    known = Times(past, history, CPU, "float32")
    assert known.of_starting("refiner").seconds == 3.0
    saving = known.of_saving("refiner")
    assert saving is not None
    assert saving.seconds == 2.0


@pytest.mark.parametrize("known", ["nothing", "a run"])
def test_plan_and_run_promise_the_same(
    write_manifest: Callable[..., Path], recorded: dict[str, Any], history: History, tmp_path: Path, known: str
) -> None:
    # The cap of this test's device: an automatic one would be another on the machine that the test runs on.
    manifest = settle_cap(load_manifest(write_manifest(output_dir=str(tmp_path / "runs" / "next")), {}), CPU)
    run = RunDirectory(tmp_path / "runs" / "before")
    if known == "a run":
        recorded["quiet"].write(run)
        run.write_manifest(resolve_manifest(manifest))
    plan = plan_run(manifest, STAGES, CPU, history)
    # The run plans what is in its directory, and expects what its plan says.
    of_run = plan_run(resolve_manifest(manifest), STAGES, CPU, history, run=RunDirectory(tmp_path / "runs" / "next"))
    start = RunStart.of([StageDecision(stage, "run", "") for stage in STAGES], of_run.expected_s, 0.0, of_run.guessed)
    assert plan.expected_s == of_run.expected_s
    left = estimate(STAGES, {}, start.expected, 0.0)
    assert left.remaining_s == pytest.approx(plan.seconds, abs=0.01)  # kept to the millisecond
    assert left.not_counted == ()
    assert plan.is_measured == (known == "a run") == (not start.guessed)
    if known == "a run":
        assert plan.seconds == pytest.approx(recorded["quiet"].seconds)


@pytest.mark.parametrize("name", ["quiet", "loaded"])
def test_what_is_guessed_of_a_first_tiny_run_is_a_range_that_holds_the_truth(
    write_manifest: Callable[..., Path], recorded: dict[str, Any], history: History, name: str
) -> None:
    plan = plan_run(load_manifest(write_manifest(), {}), STAGES, CPU, history)
    run = recorded[name]
    ended_at_s = run.events["vae_decode"][-1].time_s
    now_s = run.started_at_s
    while now_s < ended_at_s:
        seen = run.seen_by(now_s)
        left = estimate(STAGES, seen, plan.expected_s, now_s, plan.guessed)
        assert left.range_s is not None
        low_s, high_s = left.range_s
        assert low_s <= ended_at_s - now_s <= high_s, f"after {now_s - run.started_at_s:.1f} s"
        now_s += 0.2


def test_an_old_damaged_or_later_line_of_the_history_costs_nothing_but_itself(history: History, tmp_path: Path) -> None:
    good = PhaseTime("M3", "float32", *TRANSFORMER, 1.0, 7.0)
    history.add([good])
    file = tmp_path / "cache" / "history.jsonl"
    line = json.loads(file.read_text())
    bad: list[dict[str, Any]] = [{"seconds": "long"}, {"tflop": []}, {"tflop": 1e300}, {"parameters": 2**80}]
    lines = [json.dumps(line | change) for change in bad]
    deep = "[" * 100_000 + "]" * 100_000
    file.write_text("\n".join([*lines, deep, "NaN", json.dumps(line | {"host": "b"})]) + "\n")
    assert History(file).read() == [good]


def test_a_preview_takes_what_the_decode_took_while_nobody_has_timed_one(history: History) -> None:
    past = [PastRun(Path("one"), {("vae_decode", STARTING): 3.0, ("vae_decode", "vae_decoder"): 40.0})]
    known = Times(past, history, CPU, "float32")
    assert known.of_same_work("preview", "vae_decoder") == Duration(40.0, measured=True)
    assert known.of_starting("preview") == Duration(3.0, measured=True)
    assert known.of_same_work("refiner", "transformer") is None
    history.add([PhaseTime(CPU.name, "float32", "preview", STARTING, 0.0, 5.0)])
    assert Times([], history, CPU, "float32").of_starting("vae_decode") == Duration(5.0, measured=True)
