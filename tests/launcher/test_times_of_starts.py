"""Screen, status, receipts, metrics and report say the same times, over several starts of a run."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest

from fake_runs import fake
from sana_wm.errors import InterruptedRunError
from sana_wm.launcher import power
from sana_wm.launcher.power import PowerReading, PowerWatch
from sana_wm.launcher.run import execute
from sana_wm.manifest.limits import PowerSection
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.pipeline import active_stages
from sana_wm.planning.past_runs import PastMetrics, seconds_of_run
from sana_wm.progress.earlier_starts import look_back
from sana_wm.progress.run_progress import ProgressEvent, RunProgress
from sana_wm.progress.run_record import EarlierStarts, RunStart
from sana_wm.progress.snapshot import RunSnapshot
from sana_wm.progress.status import StatusReader
from sana_wm.records import read_record
from sana_wm.report.facts import gather_run_facts
from sana_wm.runs.decisions import decide
from sana_wm.runs.prepare import prepare
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory

#: Of the tiny manifest, which has no preview.
STAGES: tuple[Stage, ...] = ("stage1", "refiner", "vae_decode")


def start(run: RunDirectory, manifest: RunManifest, over: tuple[Stage, ...] = (), **fakes: str) -> list[RunSnapshot]:
    """One start, as `sana_wm.launcher.start` makes it; returns what the screen was shown."""
    shown: list[RunSnapshot] = []

    def listen(event: ProgressEvent, snapshot: RunSnapshot) -> None:
        shown.append(snapshot)

    decisions = decide(run, manifest, [], over[0] if over else None)
    begun = RunStart.of(decisions, {}, time.time(), earlier=look_back(run, decisions, over))
    progress = RunProgress(run, manifest, begun, [listen])
    try:
        with progress.reporting():
            execute(
                run,
                manifest,
                decisions,
                environment=os.environ,
                view=progress,
                command=fake(**fakes),
                start_from=over[0] if over else None,
            )
    except InterruptedRunError:
        pass
    return shown


def interrupt_when_begun(run: RunDirectory, stage: Stage) -> threading.Thread:
    def interrupt() -> None:
        while not (run.events_file(stage).exists() and "phase_start" in run.events_file(stage).read_text()):
            time.sleep(0.02)
        time.sleep(0.3)
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


def stage_seconds(snapshot: RunSnapshot) -> dict[str, float]:
    return {one.stage: round(one.seconds or 0.0, 3) for one in snapshot.stages if one.state != "off"}


def test_a_resumed_run_says_one_number_everywhere(run: RunDirectory, resolved: RunManifest) -> None:
    thread = interrupt_when_begun(run, "stage1")
    first = start(run, resolved, stage1="stops_when_asked")[-1]
    thread.join()
    stopped = StatusReader(run).look()
    assert (first.state, stopped.state) == ("interrupted", "interrupted")
    assert stopped.elapsed_s == first.elapsed_s
    assert stage_seconds(stopped) == stage_seconds(first)
    time.sleep(0.5)  # between two starts nothing counts
    second = start(run, resolved)
    end, status, facts = second[-1], StatusReader(run).look(), gather_run_facts(run)
    began_s, elapsed_s = second[0].elapsed_s, first.elapsed_s
    assert began_s is not None
    assert elapsed_s is not None
    assert began_s == pytest.approx(elapsed_s, abs=0.2)
    assert end.elapsed_s == status.elapsed_s == facts.elapsed_s
    assert facts.metrics["seconds"] == pytest.approx(end.elapsed_s, abs=0.001)
    in_receipts = {stage: _receipt(run, stage).seconds for stage in active_stages(resolved)}
    assert stage_seconds(end) == stage_seconds(status) == in_receipts
    assert in_receipts == pytest.approx({row["stage"]: row["seconds"] for row in facts.metrics["stages"]})
    assert in_receipts["stage1"] > stage_seconds(first)["stage1"] > 0.3
    for stage in active_stages(resolved):
        assert sum(_receipt(run, stage).times_s.values()) == pytest.approx(in_receipts[stage], abs=0.005)
        assert _receipt(run, stage).times_s == {
            phase: seconds for (of, phase), seconds in facts.times_s.items() if of == stage
        }


def test_a_start_that_finds_everything_done_changes_no_time(run: RunDirectory, resolved: RunManifest) -> None:
    start(run, resolved)
    before = StatusReader(run).look()
    again = start(run, resolved)[-1]
    assert again.elapsed_s == pytest.approx(before.elapsed_s, abs=0.001)
    assert stage_seconds(again) == stage_seconds(before)
    assert StatusReader(run).look() == before


def test_a_stage_that_starts_over_begins_at_zero_and_the_run_does_not(run: RunDirectory, resolved: RunManifest) -> None:
    start(run, resolved)
    before = StatusReader(run).look()
    start(run, resolved, over=("refiner", "vae_decode"))
    after = StatusReader(run).look()
    assert before.elapsed_s is not None
    assert after.elapsed_s is not None
    assert stage_seconds(after)["stage1"] == stage_seconds(before)["stage1"]
    last_start_s = sum(stage_seconds(after)[stage] for stage in ("refiner", "vae_decode"))
    assert after.elapsed_s >= before.elapsed_s + last_start_s


def test_another_manifest_in_the_same_directory_is_another_run(run: RunDirectory, resolved: RunManifest) -> None:
    start(run, resolved)
    other = resolved.model_copy(update={"stage1": resolved.stage1.model_copy(update={"seed": 43})})
    prepare(run, other, force=True)
    assert look_back(run, decide(run, other, [])) == EarlierStarts()
    start(run, other)
    last = other.model_copy(update={"vae_decode": other.vae_decode.model_copy(update={"drop_sink_frame": False})})
    prepare(run, last, force=True)
    assert look_back(run, decide(run, last, [])).seconds > 0


def test_a_pause_is_no_time_of_the_run(
    run: RunDirectory, resolved: RunManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused_s = 1.0
    until_s: list[float] = []

    def charge() -> PowerReading:
        if not run.events_file("stage1").exists():
            return PowerReading(90.0, None)
        if (run.path / "paused_once").exists():
            until_s.append(time.monotonic() + paused_s)
            return PowerReading(90.0 if time.monotonic() > until_s[0] else 10.0, None)
        return PowerReading(10.0, None)

    monkeypatch.setattr(PowerWatch.__init__, "__kwdefaults__", {"read": charge, "clock": None})
    monkeypatch.setattr(power, "LOOK_EVERY_S", 0.05)
    asking = resolved.model_copy(update={"power": PowerSection(pause_below_battery_percent=50)})
    begun_s = time.time()
    shown = start(run, asking, stage1="pauses_once")
    took_s, end = time.time() - begun_s, shown[-1]
    assert end.elapsed_s is not None
    assert end.elapsed_s <= took_s - paused_s + 0.2
    assert any(one.note and one.note.startswith("paused: the battery") for one in shown)
    assert stage_seconds(end)["stage1"] == _receipt(run, "stage1").seconds
    assert StatusReader(run).look().elapsed_s == end.elapsed_s
    # Of stage 1 the events tell its second process only: it did not do the whole, and no pause is in what is learned.
    learned = seconds_of_run(run, _metrics(run))
    assert sum(learned.values()) < took_s - paused_s


def _receipt(run: RunDirectory, stage: Stage) -> Any:
    receipt = read_receipt(run, stage)
    assert receipt is not None
    return receipt


def _metrics(run: RunDirectory) -> PastMetrics:
    metrics = read_record(run.metrics_file, PastMetrics)
    assert metrics is not None
    return metrics
