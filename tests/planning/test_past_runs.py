from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sana_wm.manifest.loading import parse_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.planning.past_runs import MAX_EVENTS_BYTES, PastRun, find_past_runs
from sana_wm.runs.run_directory import RunDirectory


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


def test_neighbours_of_the_same_work_are_found_newest_first_and_others_are_not(
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
    assert [past.path.name for past in find_past_runs(run, run_manifest())] == ["b", "c"]


def test_a_run_whose_events_were_overwritten_by_a_later_start_is_no_history(
    leave: Callable[..., RunDirectory], recorded: dict[str, Any], tmp_path: Path
) -> None:
    run = leave(tmp_path / "run", "quiet", run_manifest())
    assert len(list(find_past_runs(run, run_manifest()))) == 1
    whole = run.events_file("stage1").read_text()
    run.events_file("stage1").write_text(whole.rsplit("\n", 2)[0] + "\n")  # without its `done`
    assert list(find_past_runs(run, run_manifest())) == []
    begun = {"time_s": recorded["loaded"].started_at_s, "event": "stage_start"}
    run.events_file("stage1").write_text(json.dumps(begun) + "\n")
    assert list(find_past_runs(run, run_manifest())) == []
    run.events_file("stage1").unlink()
    assert list(find_past_runs(run, run_manifest())) == []


def test_a_phase_of_which_only_the_last_step_ran_teaches_nothing(
    leave: Callable[..., RunDirectory], tmp_path: Path
) -> None:
    """A resume with one step left reports one step of 60: the next run was promised 11 s for 73."""
    run = leave(tmp_path / "run", "quiet", run_manifest())
    events = [json.loads(line) for line in run.events_file("stage1").read_text().splitlines()]
    steps = [index for index, event in enumerate(events) if event["event"] == "step"]
    begin = {"time_s": events[steps[0]]["time_s"], "event": "steps_begin", "step": 7, "total": 8}
    last = events[steps[-1]] | {"step": 8, "total": 8}
    resumed = [*events[: steps[0]], begin | {"by_earlier_start": True}, last, *events[steps[-1] + 1 :]]
    run.events_file("stage1").write_text("".join(json.dumps(event) + "\n" for event in resumed))
    learned = next(find_past_runs(run, run_manifest())).seconds
    assert ("stage1", "transformer") not in learned
    assert ("stage1", "saving") not in learned  # its gaps are not those of a whole stage either
    assert ("refiner", "transformer") in learned


def test_what_a_run_says_of_its_machine_and_device_is_kept(
    leave: Callable[..., RunDirectory], recorded: dict[str, Any], tmp_path: Path
) -> None:
    run = leave(tmp_path / "run", "quiet", run_manifest())
    said = {
        "machine": {"system": "x", "processor": "Apple M3 Max"},
        "stages": [{"stage": "stage1", "device": "cuda:0"}],
    }
    run.metrics_file.write_text(json.dumps(recorded["quiet"].metrics | said))
    past = next(find_past_runs(run, run_manifest()))
    assert past.was_on("cuda", "Apple M3 Max")
    assert not past.was_on("mps", "Apple M3 Max")
    assert not past.was_on("cuda", "another")
    assert PastRun(run.path, {}).was_on("cuda", "a run that says nothing")


DEEP = "[" * 200_000 + "]" * 200_000


def put(path: Path, content: str | None) -> None:
    """Put content under a name in place of what is there; a pipe that nobody writes when there is none."""
    path.unlink(missing_ok=True)
    if content is None:
        os.mkfifo(path)
    else:
        path.write_text(content)


@pytest.mark.parametrize("name", ["metrics.json", "manifest.json", "events/stage1.jsonl"])
@pytest.mark.parametrize(
    "content",
    [
        *(None, "", "[]", "null", DEEP, f'{{"seconds": {DEEP}, "finished_at": {DEEP}, "stages_run": {DEEP}}}'),
        '{"seconds": "long", "finished_at": "2026-11-25T09:10:34+00:00", "stages_run": ["stage1"]}',
        '{"seconds": 1e999, "finished_at": "2026-11-25T09:10:34+00:00", "stages_run": ["stage1"]}',
        '{"seconds": 9, "finished_at": "0001-01-01T00:00:00", "stages_run": ["stage1"]}',
        '{"seconds": 9, "finished_at": 7, "stages_run": {"stage1": 1}}',
        '{"seconds": 9, "finished_at": "2026-11-25T09:10:34+00:00", "stages_run": []}',
        '{"event": "done", "time_s": ' + "9" * 400 + "}\n",
        '{"event": "step", "time_s": 1, "step": [], "total": {}}\n',
    ],
    ids=lambda content: "pipe" if content is None else content[:30] or "empty",
)
def test_a_neighbour_can_never_stop_a_run(
    leave: Callable[..., RunDirectory], tmp_path: Path, name: str, content: str | None
) -> None:
    run = leave(tmp_path / "run", "quiet", run_manifest())
    bad = leave(tmp_path / "bad", "loaded", run_manifest())
    put(bad.path / name, content)
    assert [past.path for past in find_past_runs(run, run_manifest())] == [run.path]


def test_a_neighbour_that_never_ends_or_that_nobody_may_read_is_no_history(
    leave: Callable[..., RunDirectory], tmp_path: Path
) -> None:
    run = leave(tmp_path / "run", "quiet", run_manifest())
    endless = leave(tmp_path / "endless", "quiet", run_manifest())
    put(endless.metrics_file, "")
    endless.metrics_file.unlink()
    endless.metrics_file.symlink_to("/dev/zero")
    huge = leave(tmp_path / "huge", "quiet", run_manifest())
    with huge.events_file("stage1").open("r+b") as file:
        file.truncate(MAX_EVENTS_BYTES + 1)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "a file").write_text("")
    assert [past.path for past in find_past_runs(run, run_manifest())] == [run.path]
    assert list(find_past_runs(RunDirectory(tmp_path / "not" / "there"), run_manifest())) == []
