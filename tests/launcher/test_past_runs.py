from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.launcher.past_runs import PastRun, expect, expected_seconds, find_past_runs
from sana_wm.launcher.plan import PhasePlan, RunPlan
from sana_wm.manifest.loading import parse_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.planning.device import Device


def run_manifest(**changes: Any) -> RunManifest:
    return parse_manifest(
        {
            "version": 1,
            "name": "recorded",
            "model": {"layout": "diffusers", "root": "/weights"},
            "input": {"image": "/picture.png", "prompt": "A quiet road."},
            "camera": {"action": "w-56", "intrinsics": [160.0, 160.0, 100.0, 60.0]},
            "video": {"num_frames": 57, "height": 96, "width": 160},
            "output_dir": "/run",
            "inputs": {},
            **changes,
        },
        RunManifest,
    )


@pytest.fixture
def leave(recorded: dict[str, Any]) -> Callable[[Path, str, RunManifest], RunDirectory]:
    def leave_run(folder: Path, name: str, manifest: RunManifest) -> RunDirectory:
        run = RunDirectory(folder)
        recorded[name].write(run)
        run.write_manifest(manifest)
        return run

    return leave_run


def test_every_second_of_a_run_is_in_its_history(recorded: dict[str, Any], tmp_path: Path) -> None:
    run = recorded["quiet"]
    seconds = run.history(tmp_path)
    assert sum(seconds.values()) == pytest.approx(run.seconds)
    assert seconds["stage1", "transformer"] == pytest.approx(0.700, abs=0.001)
    assert seconds["vae_decode", "saving"] == pytest.approx(0.469, abs=0.001)
    assert seconds["refiner", "starting"] > 3


def test_neighbours_of_the_same_work_are_found_oldest_first_and_others_are_not(
    leave: Callable[..., RunDirectory], tmp_path: Path
) -> None:
    run = leave(tmp_path / "b", "loaded", run_manifest())
    leave(tmp_path / "c", "quiet", run_manifest(name="another name", stage1={"seed": 7}))
    leave(
        tmp_path / "longer",
        "quiet",
        run_manifest(
            camera={"action": "w-72", "intrinsics": [1.0, 1.0, 1.0, 1.0]},
            video={"num_frames": 65, "height": 96, "width": 160},
        ),
    )
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "metrics.json").write_text("[]")
    assert [past.path.name for past in find_past_runs(run, run_manifest())] == ["c", "b"]


def test_a_run_whose_events_were_overwritten_by_a_later_start_is_no_history(
    leave: Callable[..., RunDirectory], recorded: dict[str, Any], tmp_path: Path
) -> None:
    run = leave(tmp_path / "run", "quiet", run_manifest())
    assert len(find_past_runs(run, run_manifest())) == 1
    whole = run.events_file("stage1").read_text()
    run.events_file("stage1").write_text(whole.rsplit("\n", 2)[0] + "\n")  # without its `done`
    assert find_past_runs(run, run_manifest()) == []
    begun = {"time_s": recorded["loaded"].started_at_s, "event": "stage_start"}
    run.events_file("stage1").write_text(json.dumps(begun) + "\n")
    assert find_past_runs(run, run_manifest()) == []
    run.events_file("stage1").unlink()
    assert find_past_runs(run, run_manifest()) == []


def test_one_run_beside_other_work_does_not_spoil_the_expectation() -> None:
    past = [
        PastRun(Path(str(number)), {("stage1", "transformer"): seconds})
        for number, seconds in enumerate((10.0, 99.0, 11.0))
    ]
    assert expected_seconds(past) == {("stage1", "transformer"): 11.0}


def test_what_no_earlier_run_says_is_planned_and_marked_where_it_is_a_guess() -> None:
    plan = RunPlan(
        Device("cpu", "a processor", 2**34, "2.13.0"),
        "float32",
        cap_bytes=2**34,
        budget_bytes=2**34,
        phases=(
            PhasePlan("stage1", "starting", "", 0, 5.0, measured=True),
            PhasePlan("stage1", "transformer", "", 1, 100.0, measured=False),
            PhasePlan("refiner", "transformer", "", 1, 200.0, measured=False),
            PhasePlan("vae_decode", "vae_decoder", "does not fit", None, None, measured=False),
        ),
        weights_bytes=0,
        disk_bytes=0,
        free_disk_bytes=0,
    )
    past = [PastRun(Path("one"), {("stage1", "transformer"): 80.0})]
    expected_s, guessed = expect(plan, past)
    assert expected_s == {
        ("stage1", "starting"): 5.0,
        ("stage1", "transformer"): 80.0,
        ("refiner", "transformer"): 200.0,
    }
    assert guessed == {("refiner", "transformer")}
