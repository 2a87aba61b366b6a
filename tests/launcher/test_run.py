"""The launcher against stages that fail in every way we know of; each fake stage is a real process."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from fake_runs import CAP_GIB, actions, assert_resumable, go
from sana_wm.errors import (
    HandoffError,
    MemoryCapError,
    MemoryNotReleasedError,
    SanaWMError,
    StageFailedError,
    WeightsError,
)
from sana_wm.launcher import supervisor
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.pipeline import active_stages
from sana_wm.runs.receipts import (
    read_receipt,
    stage_settings,
)
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.unfinished import is_unfinished


def test_a_good_run_leaves_receipts_and_metrics_and_is_skipped_the_second_time(
    run: RunDirectory, resolved: RunManifest
) -> None:
    assert go(run, resolved).started == list(active_stages(resolved))
    metrics = json.loads(run.metrics_file.read_text())
    assert [row["stage"] for row in metrics["stages"]] == list(active_stages(resolved))
    receipt = read_receipt(run, "stage1")
    assert receipt is not None
    assert receipt.process is not None
    assert receipt.process.after_exit_processes == 0
    assert go(run, resolved).started == []


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("over_cap", MemoryCapError, "stopped over the memory cap"),
        ("over_cap_in_child", MemoryCapError, "stopped over the memory cap"),
        ("ignores_sigterm", MemoryCapError, "stopped over the memory cap"),
        ("leaves_grandchild", MemoryNotReleasedError, "left processes behind"),
        ("no_receipt", StageFailedError, "ended without a receipt"),
        ("bug", StageFailedError, "exit code 1"),
        ("segfault", StageFailedError, "signal SIGSEGV"),
        ("damaged_weights", WeightsError, "shard 3 is truncated"),
        ("memory_not_released", MemoryNotReleasedError, "left 12 bytes"),
        ("jumps_over_cap", MemoryCapError, r"resume .* --cap-gib 0\.[2-6]"),
        ("lies_about_memory", MemoryCapError, r"in phase starting; got 0\.[2-6]"),
        ("limit_above_cap", MemoryCapError, "its device would give it up to 0.20 GiB"),
        ("keeps_tensor", MemoryNotReleasedError, "left per phase .*'transformer': 536870912"),
        ("reports_nothing", MemoryNotReleasedError, "left per phase {} on mps"),
        ("lies_about_outputs", HandoffError, "left other files than its receipt says"),
    ],
)
def test_a_failing_stage_has_its_exit_code_leaves_nothing_running_and_can_be_resumed(
    run: RunDirectory,
    resolved: RunManifest,
    name: str,
    kind: type[SanaWMError],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "GRACE_S", 1.0)
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with pytest.raises(kind, match=said):
        go(run, resolved, refiner=name)
    assert {process.pid for process in psutil.Process().children(recursive=True)} == before
    assert [
        process for process in psutil.process_iter(["cmdline"]) if str(run.path) in (process.info["cmdline"] or [])
    ] == []
    assert actions(run, resolved)[0] == "skip"
    assert_resumable(run, resolved)


def test_a_stage_close_to_the_cap_is_asked_to_take_less_and_goes_on(run: RunDirectory, resolved: RunManifest) -> None:
    view = go(run, resolved, refiner="grows_until_asked")
    assert [why.endswith("is close to the cap") for why in view.asked_to_shrink] == [True]
    assert actions(run, resolved) == ["skip"] * 3


def test_what_the_governor_saw_is_kept_and_counted(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved, refiner="grows_until_asked")
    lines = [json.loads(line) for line in run.memory_file.read_text().splitlines()]
    seen = [line for line in lines if line["stage"] == "refiner"]
    assert max(line["process_bytes"] for line in seen) > 0.9 * CAP_GIB * 1024**3
    row = json.loads(run.metrics_file.read_text())["stages"][1]
    assert row["stage"] == "refiner"
    assert 0.95 * CAP_GIB * 1024**3 < row["peak_process_bytes"] <= CAP_GIB * 1024**3
    assert row["after_unload_process_bytes"] == 0
    assert all(figure > 0 for figure in row["system_available_bytes_before_and_after"])


def test_a_bug_in_a_stage_is_in_its_log(run: RunDirectory, resolved: RunManifest) -> None:
    with pytest.raises(StageFailedError, match=str(run.log_file("stage1"))):
        go(run, resolved, stage1="bug")
    assert "ZeroDivisionError: a bug in the stage" in run.log_file("stage1").read_text()


def test_work_that_the_system_aborted_is_neither_kept_nor_trusted(run: RunDirectory, resolved: RunManifest) -> None:
    memory = resolved.memory.model_copy(update={"cap_gib": 8.0})  # the real stage loads torch
    resolved = resolved.model_copy(update={"memory": memory})
    run.write_manifest(resolved)
    stage1 = resolved.stage1.model_copy(update={"num_inference_steps": 40, "checkpoint_every": 40})
    resolved = resolved.model_copy(update={"stage1": stage1})
    run.write_manifest(resolved)
    with pytest.raises(StageFailedError, match=r"aborted by the system.*Internal Error \(0000000e") as caught:
        go(run, resolved, stage1="gpu_aborted")
    assert caught.value.exit_code == 7
    assert run.conditioning_file.exists()  # made before
    assert not run.stage1_file.exists()
    assert not is_unfinished(run, "stage1")
    assert_resumable(run, resolved)


def test_frames_within_a_run_move_with_it(resolved: RunManifest, tmp_path: Path) -> None:
    def with_frames(folder: Path) -> RunManifest:
        return resolved.model_copy(update={"video": resolved.video.model_copy(update={"frames_dir": str(folder)})})

    inside, outside = with_frames(Path(resolved.output_dir) / "png"), with_frames(tmp_path / "png")
    moved = RunDirectory(tmp_path / "moved")
    assert moved.frames_folder(inside) == tmp_path / "moved" / "png"
    assert moved.frames_folder(outside) == tmp_path / "png"
    assert moved.frames_folder(resolved) is None
    beside = Path(resolved.output_dir) / ".." / "png"
    assert moved.frames_folder(with_frames(beside)) == beside
    elsewhere = inside.model_copy(update={"output_dir": str(moved.path)})
    elsewhere = elsewhere.model_copy(
        update={"video": inside.video.model_copy(update={"frames_dir": str(moved.path / "png")})}
    )
    assert stage_settings(inside, "vae_decode") == stage_settings(elsewhere, "vae_decode")
