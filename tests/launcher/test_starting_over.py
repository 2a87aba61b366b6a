"""`resume --from STAGE`: looks first, uses nothing again, keeps the old result until there is a new one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fake_runs import SilentView, actions, fake, go
from sana_wm.errors import (
    HandoffError,
    StageFailedError,
    UsageError,
)
from sana_wm.launcher.run import execute, start_checks
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.planning.space import check_space
from sana_wm.runs.decisions import decide
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.unfinished import is_unfinished


def start_over(run: RunDirectory, manifest: RunManifest, stage: Stage, **by_stage: str) -> None:
    execute(
        run,
        manifest,
        decide(run, manifest, [], stage),
        environment=os.environ,
        view=SilentView(),
        start_from=stage,
        command=fake(**by_stage),
    )


def test_starting_over_touches_nothing_before_it_knows_that_it_can(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    Path(resolved.input.image).unlink()
    with pytest.raises(HandoffError, match=r"input\.image changed since the run began: .*; got no file"):
        start_over(run, resolved, "stage1")
    video = resolved.video.model_copy(update={"codec": "hevc_videotoolbox"})
    with pytest.raises(UsageError, match="hevc_videotoolbox"):
        start_over(run, resolved.model_copy(update={"video": video}), "vae_decode")
    assert actions(run, resolved) == ["skip"] * 3
    assert run.metrics_file.exists()


def test_starting_over_looks_at_the_disk_first_and_counts_no_old_result(
    run: RunDirectory, resolved: RunManifest
) -> None:
    go(run, resolved)
    huge = resolved.video.model_copy(update={"num_frames": 8185, "height": 32_000, "width": 32_000})
    huge_run = resolved.model_copy(update={"video": huge})
    with run.video_file.open("r+b") as file:
        file.truncate(2**42)  # a hole: takes no space, and none will be free until the new video is there
    with pytest.raises(HandoffError, match=r"too little free space in .* for stage vae_decode"):
        [check() for check in start_checks(run, huge_run, ["vae_decode"])]
    failed = StageFailedError("failed")
    check_space(run, huge_run, "vae_decode", after=failed)  # here the video may be the new one


def test_starting_over_uses_nothing_again_and_leaves_earlier_stages_alone(
    run: RunDirectory, resolved: RunManifest, unfinished: Path
) -> None:
    for path in (run.conditioning_file, run.refiner_text_file, run.checkpoint_folder("refiner") / "00001.safetensors"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with pytest.raises(StageFailedError):
        start_over(run, resolved, "refiner", refiner="bug")
    assert unfinished.exists()  # Stage 1 went on from it
    assert run.conditioning_file.exists()
    assert not run.refiner_text_file.exists()
    assert not is_unfinished(run, "refiner")


def test_what_a_finished_stage_left_behind_is_no_beginning_of_its_next_run(
    run: RunDirectory, resolved: RunManifest, unfinished: Path
) -> None:
    """A kill between the receipt and the removal of the checkpoints; later its result is damaged."""
    go(run, resolved)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    unfinished.touch()
    run.stage1_file.write_text("damaged")
    with pytest.raises(StageFailedError):
        go(run, resolved, stage1="bug")
    assert not unfinished.exists()


def test_an_earlier_result_stays_until_a_new_one_takes_its_place(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    before = run.video_file.read_bytes()
    with pytest.raises(StageFailedError):
        start_over(run, resolved, "vae_decode", vae_decode="bug")
    assert run.video_file.read_bytes() == before
    assert actions(run, resolved) == ["skip", "skip", "run"]


def test_a_stage_can_be_started_over_by_name(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    assert [one.action for one in decide(run, resolved, [], "refiner")] == ["skip", "off", "run", "run"]
