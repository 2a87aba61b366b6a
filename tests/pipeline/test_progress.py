"""What a real run tells of itself while it runs, and leaves behind."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from sana_wm.names import Stage
from sana_wm.pipeline import phases_of
from sana_wm.planning.past_runs import find_past_runs
from sana_wm.progress.status import StatusReader
from sana_wm.runs.run_directory import RunDirectory

#: Of that run: it has no preview.
STAGES: tuple[Stage, ...] = ("stage1", "refiner", "vae_decode")


def test_every_line_of_a_real_run_is_whole_and_tells_how_far_it_is(finished_run: Path) -> None:
    lines = [json.loads(line) for line in (finished_run.parent / "progress.jsonl").read_text().splitlines()]
    events = [line["event"] for line in lines]
    assert (events[0], events[-1]) == ("run_started", "run_ended")
    assert events.count("stage_started") == events.count("stage_ended") == len(STAGES)
    assert {(line["stage"], line["phase"]) for line in lines} >= {
        (stage, phase) for stage in STAGES for phase in (phases_of(stage)[0], phases_of(stage)[-1])
    }
    assert all(line["elapsed_s"] <= later["elapsed_s"] for line, later in pairwise(lines))
    # Which steps show depends on when the parent looks: a tiny network's last one may be over by then.
    counted = [(line["step"], line["total"]) for line in lines if line["total"]]
    assert counted
    assert all(0 <= step <= total for step, total in counted)
    assert any(line["memory"]["used_bytes"] for line in lines)
    last = lines[-1]
    assert (last["state"], last["remaining_s"], last["error"]) == ("finished", None, None)
    assert Path(last["video"]).is_file()
    assert Path(last["preview"]).is_file()


def test_afterwards_the_directory_says_the_same_and_is_the_history_of_the_next_run(finished_run: Path) -> None:
    run = RunDirectory(finished_run)
    look = StatusReader(run).look()
    assert look.state == "finished"
    assert [one.state for one in look.stages] == ["done", "off", "done", "done"]
    past = list(find_past_runs(run, run.read_manifest()))
    assert [one.path for one in past] == [run.path]
    assert set(past[0].seconds) >= {(stage, phase) for stage in STAGES for phase in phases_of(stage)}
    metrics = json.loads(run.metrics_file.read_text())
    assert sum(past[0].seconds.values()) == pytest.approx(metrics["seconds"], rel=0.01)
