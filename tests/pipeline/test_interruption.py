"""Stages stopped in the middle of their work: what was done is kept, and the result has the same bytes.

Stages run in this process, but where a test is about processes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.pipeline.streaming_runs import run_stage_here

from sana_wm.drafting.new_manifest import manifest_of_run
from sana_wm.errors import HandoffError, SanityError
from sana_wm.names import Stage
from sana_wm.progress.run_progress import STOPPING
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.video.reader import read_frames

EditManifest = Callable[..., None]


def command_line(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "sana_wm", *map(str, arguments)], stderr=subprocess.PIPE, text=True)


def start_stage(run: RunDirectory, stage: Stage) -> subprocess.Popen[str]:
    run.events_file(stage).unlink(missing_ok=True)
    command = [sys.executable, "-m", "sana_wm.stages", stage, str(run.path)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def events_of(run: RunDirectory, stage: Stage) -> list[dict[str, Any]]:
    path = run.events_file(stage)
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def wait_for_step(run: RunDirectory, stage: Stage, step: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(event["event"] == "step" and int(str(event["step"])) >= step for event in events_of(run, stage)):
            return
        time.sleep(0.01)
    pytest.fail(f"{stage} never reached step {step}")


@pytest.fixture
def undisturbed(finished_run: Path) -> RunDirectory:
    return RunDirectory(finished_run)


def test_companion_files_of_a_volume_are_no_segments(undisturbed: RunDirectory, tmp_path: Path) -> None:
    """What macOS puts beside files on volumes that have no extended attributes."""
    run = RunDirectory(shutil.copytree(undisturbed.path, tmp_path / "run"))
    segments = run.checkpoint_folder("vae_decode")
    segments.mkdir(parents=True)
    (segments / "._00000.mp4").write_bytes(b"\0\5\26\7" * 1024)
    run_stage_here(run, "vae_decode")
    assert run.video_file.read_bytes() == undisturbed.video_file.read_bytes()


def test_every_stage_goes_on_after_a_kill_and_makes_the_same_bytes(undisturbed: RunDirectory, tmp_path: Path) -> None:
    """Each stage is killed -9 on a copy of the run from which its own results were taken away."""
    points: list[tuple[Stage, int]] = [("stage1", 4), ("refiner", 2), ("vae_decode", 36)]
    for stage, step in points:
        run = RunDirectory(tmp_path / stage)
        shutil.copytree(undisturbed.path, run.path)
        run.clear_stage(stage)
        process = start_stage(run, stage)
        wait_for_step(run, stage, step)
        process.kill()
        process.communicate()
        assert not run.receipt_file(stage).exists()
        assert any(run.checkpoint_folder(stage).iterdir())
        process = start_stage(run, stage)
        _, err = process.communicate()
        assert process.returncode == 0, err
        steps = [event["step"] for event in events_of(run, stage) if event["event"] == "step"]
        assert int(str(steps[0])) > 1, "it began again instead of going on"
        output = {"stage1": "stage1_file", "refiner": "refined_file", "vae_decode": "video_file"}[stage]
        assert getattr(run, output).read_bytes() == getattr(undisturbed, output).read_bytes()
        shutil.rmtree(run.path)


def interrupt_in(stage: Stage, step: int, undisturbed: RunDirectory, folder: Path) -> RunDirectory:
    """A copy of the run in which a stage was killed after a step."""
    run = RunDirectory(Path(shutil.copytree(undisturbed.path, folder / "run")))
    run.clear_stage(stage)
    process = start_stage(run, stage)
    wait_for_step(run, stage, step)
    process.kill()
    process.communicate()
    return run


@pytest.mark.long
def test_what_another_torch_began_is_neither_mixed_nor_lost(undisturbed: RunDirectory, tmp_path: Path) -> None:
    run = interrupt_in("refiner", 2, undisturbed, tmp_path)
    begun = run.beginning_file("refiner")
    begun.write_text(begun.read_text().replace(f'"torch": "{torch.__version__}"', '"torch": "1.0"'))
    run.remove_parts()  # the kill may have come in the middle of a write
    kept = sorted(run.checkpoint_folder("refiner").iterdir())
    said = f'torch: "1.0" -> "{torch.__version__}"'
    resume = [sys.executable, "-m", "sana_wm", "resume", str(run.path)]
    dry = subprocess.run([*resume, "--dry-run"], capture_output=True, text=True, check=False)
    assert dry.returncode == 4  # as the start itself would end
    assert said in dry.stderr
    assert f"left unfinished by others ({said}): refused" in dry.stdout
    refused = command_line("resume", run.path)
    _, err = refused.communicate()
    assert refused.returncode == 4
    assert said in err
    assert sorted(run.checkpoint_folder("refiner").iterdir()) == kept
    again = command_line("resume", run.path, "--from", "refiner")
    _, err = again.communicate()
    assert again.returncode == 0, err
    assert run.refined_file.read_bytes() == undisturbed.refined_file.read_bytes()


def test_latents_that_are_not_those_of_the_receipt_are_refused_and_cost_nothing(
    undisturbed: RunDirectory, tmp_path: Path
) -> None:
    run = interrupt_in("refiner", 2, undisturbed, tmp_path)
    run.remove_parts()
    kept = sorted(run.checkpoint_folder("refiner").iterdir())
    run.stage1_file.write_bytes(undisturbed.refined_file.read_bytes())
    with pytest.raises(HandoffError, match="is not what the receipt of stage1 names; got another SHA-256"):
        run_stage_here(run, "refiner")
    assert sorted(run.checkpoint_folder("refiner").iterdir()) == kept


@pytest.mark.long
def test_another_cap_keeps_the_finished_segments(
    undisturbed: RunDirectory, tmp_path: Path, edit_run_manifest: EditManifest
) -> None:
    run = interrupt_in("vae_decode", 36, undisturbed, tmp_path)
    edit_run_manifest(run.path, memory__cap_gib=90.0)
    assert start_stage(run, "vae_decode").wait() == 0
    assert next(event["step"] for event in events_of(run, "vae_decode") if event["event"] == "step") > 32


def test_frames_go_where_the_run_is_now(
    undisturbed: RunDirectory, tmp_path: Path, edit_run_manifest: EditManifest
) -> None:
    run = RunDirectory(Path(shutil.copytree(undisturbed.path, tmp_path / "moved")))
    made_in = tmp_path / "made in"
    edit_run_manifest(run.path, output_dir=str(made_in), video__frames_dir=str(made_in / "png"))
    run_stage_here(run, "vae_decode")
    assert len(list((run.path / "png").glob("*.png"))) == 56
    assert not made_in.exists()


def test_a_run_interrupted_after_stage1_says_how_to_go_on_and_resume_makes_the_same_bytes(
    undisturbed: RunDirectory, tmp_path: Path
) -> None:
    run = RunDirectory(Path(shutil.copytree(undisturbed.path, tmp_path / "run")))
    for stage_to_come in ("refiner", "vae_decode"):
        run.clear_stage(stage_to_come)
        run.events_file(stage_to_come).unlink()
    process = command_line("resume", run.path)
    wait_for_step(run, "refiner", 1)
    (stage,) = psutil.Process(process.pid).children()
    stage.suspend()  # so that however slow this machine is, the refiner is asked before it is done
    os.kill(process.pid, signal.SIGINT)
    assert process.stderr is not None
    said = next(line for line in process.stderr if STOPPING in line)
    assert said.startswith("refiner: ")
    assert f"note          {STOPPING}" in said_by("status", run.path)
    assert json.loads(said_by("status", run.path, "--json"))["state"] == "stopping"
    stage.resume()
    _, err = process.communicate()
    assert process.returncode == 130
    assert f"sana-wm resume {run.path}" in err
    assert "note" not in said_by("status", run.path)
    resumed = command_line("resume", run.path, "--to", "refiner")
    _, err = resumed.communicate()
    assert resumed.returncode == 0, err
    assert "stage1     skip  done, and its receipt matches" in err
    assert "refiner    run   not finished yet; goes on from its checkpoint" in err
    assert run.stage1_file.read_bytes() == undisturbed.stage1_file.read_bytes()
    assert run.refined_file.read_bytes() == undisturbed.refined_file.read_bytes()


def said_by(*arguments: object) -> str:
    command = [sys.executable, "-m", "sana_wm", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout


def wait_for_status(process: psutil.Process, wanted: str) -> None:
    deadline = time.monotonic() + 60
    while process.status() != wanted:
        assert time.monotonic() < deadline, process
        time.sleep(0.02)


def test_a_stage_stops_with_its_launcher_and_goes_on_with_it(
    write_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    """Ctrl-Z reaches the launcher alone."""
    process = command_line("run-pipeline", write_manifest(), "--to", "stage1")
    launcher, events = psutil.Process(process.pid), RunDirectory(tmp_path / "run").events_file("stage1")
    while not events.exists():
        assert process.poll() is None
        time.sleep(0.02)
    (stage,) = launcher.children()
    process.send_signal(signal.SIGTSTP)
    wait_for_status(launcher, psutil.STATUS_STOPPED)
    wait_for_status(stage, psutil.STATUS_STOPPED)
    assert "suspended with Ctrl-Z: `fg` in its terminal goes on" in said_by("status", tmp_path / "run")
    assert "suspended with Ctrl-Z" in said_by("resume", tmp_path / "run")
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert RunDirectory(tmp_path / "run").receipt_file("stage1").exists()


@pytest.mark.parametrize(("stage", "field"), [("stage1", "input.image"), ("vae_decode", "camera.poses")])
def test_a_changed_input_file_is_refused_by_the_stage(
    undisturbed: RunDirectory, tmp_path: Path, edit_run_manifest: EditManifest, stage: Stage, field: str
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(undisturbed.path, run.path)
    edit_run_manifest(run.path, **{f"inputs__{field}": {"path": str(tmp_path / "file"), "sha256": "0" * 64}})
    with pytest.raises(HandoffError, match=f"{re.escape(field)} changed since the run began"):
        run_stage_here(run, stage)


def run_asked_to_shrink(run: RunDirectory, stage: Stage) -> list[dict[str, Any]]:
    """Start a stage again that was asked to take less memory before its first step; returns what it said of that."""
    run.clear_stage(stage)
    run.events_file(stage).unlink()
    read_end, write_end = os.pipe()
    os.write(write_end, b"s")
    command = [sys.executable, "-m", "sana_wm.stages", stage, str(run.path), "--liveness-fd", str(read_end)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, pass_fds=(read_end,))
    os.close(read_end)
    os.close(write_end)
    assert done.returncode == 0, done.stderr
    return [event for event in events_of(run, stage) if event["event"] == "shrunk"]


@pytest.mark.long
def test_stages_take_less_when_asked_and_finish(undisturbed: RunDirectory, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(undisturbed.path, run.path)
    (said,) = run_asked_to_shrink(run, "refiner")
    assert said["plan"]["mode"] == "streamed"
    assert said["plan"]["resident_blocks"] == 1
    assert run.refined_file.read_bytes() == undisturbed.refined_file.read_bytes()
    (said,) = run_asked_to_shrink(run, "stage1")
    assert said["step"] == 1
    receipts = [read_receipt(directory, "stage1") for directory in (undisturbed, run)]
    before, after = (receipt.plan for receipt in receipts if receipt is not None)
    assert after["shrunk_after_steps"] == [1]
    assert after["working_set_bytes"] < before["working_set_bytes"]
    latents = [load_file(directory.stage1_file)["latents"] for directory in (undisturbed, run)]
    torch.testing.assert_close(latents[1], latents[0], rtol=1e-3, atol=1e-4)


def test_previews_are_left_beside_the_run(undisturbed: RunDirectory) -> None:
    assert sorted(path.name for path in (undisturbed.path / "previews").iterdir()) == ["0004.png", "0008.png"]
    shown = [event.get("preview") for event in events_of(undisturbed, "stage1") if event["event"] == "step"]
    assert str(undisturbed.step_picture_file(8)) in shown


def test_latents_that_look_broken_stop_the_stage_and_are_kept(
    undisturbed: RunDirectory, tmp_path: Path, edit_run_manifest: EditManifest
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(undisturbed.path, run.path)
    run.clear_stage("stage1")
    edit_run_manifest(run.path, sanity__latent_std_max=0.1)
    with pytest.raises(SanityError, match="latents look broken at step 2 of 8: latent frames") as caught:
        run_stage_here(run, "stage1")
    assert f"sana-wm resume {run.path} goes on from the last checkpoint" in str(caught.value)
    assert any((run.path / "evidence").iterdir())
    assert not run.receipt_file("stage1").exists()


@pytest.mark.long
def test_a_decode_that_is_not_finite_stops_is_kept_and_is_made_again_from_the_latents(
    undisturbed: RunDirectory, tmp_path: Path, edit_run_manifest: EditManifest
) -> None:
    """A flipped bit in the decoder's weights; then the same run with whole ones."""
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(undisturbed.path, run.path)
    run.clear_stage("vae_decode")
    whole = Path(run.read_manifest().model.root)
    damaged = Path(shutil.copytree(whole, tmp_path / "model"))
    for file in (damaged / "vae").glob("*.safetensors"):
        tensors = load_file(file)
        tensors["decoder.conv_out.conv.weight"].view(-1)[5] = float("inf")
        save_file(tensors, file)
    edit_run_manifest(run.path, model__root=str(damaged))
    process = start_stage(run, "vae_decode")
    _, err = process.communicate()
    assert process.returncode == 8
    assert "decoded video looks broken; got frames 0-" in err
    assert "are not finite" in err
    assert f"The latents are kept: sana-wm resume {run.path} decodes them again" in err
    assert any((run.path / "evidence" / "vae_decode").iterdir())
    assert not run.checkpoint_folder("vae_decode").exists()
    edit_run_manifest(run.path, model__root=str(whole))
    assert start_stage(run, "vae_decode").wait() == 0
    assert [frame.tobytes() for frame in read_frames(run.video_file)] == [
        frame.tobytes() for frame in read_frames(undisturbed.video_file)
    ]


@pytest.mark.long
def test_what_a_camera_may_see_is_a_warning_in_the_receipt_wherever_a_run_was_interrupted(
    undisturbed: RunDirectory, tmp_path: Path, edit_run_manifest: EditManifest
) -> None:
    said = []
    for step in (None, 36):
        run = RunDirectory(tmp_path / f"run {step}")
        shutil.copytree(undisturbed.path, run.path)
        run.clear_stage("vae_decode")
        edit_run_manifest(run.path, sanity__constant_std=1000.0)
        if step is not None:
            process = start_stage(run, "vae_decode")
            wait_for_step(run, "vae_decode", step)
            process.kill()
            process.communicate()
        assert start_stage(run, "vae_decode").wait() == 0
        receipt = read_receipt(run, "vae_decode")
        assert receipt is not None
        said.append(receipt.warnings)
    assert said == [("frames 0-55 constant",)] * 2


def test_refining_with_another_seed_skips_the_text_encoder(
    undisturbed: RunDirectory, tmp_path: Path, edit_run_manifest: EditManifest
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(undisturbed.path, run.path)
    run.clear_stage("refiner")
    edit_run_manifest(run.path, refiner__seed=7)
    run.events_file("refiner").unlink()
    run_stage_here(run, "refiner")
    phases = [event["phase"] for event in events_of(run, "refiner") if event["event"] == "phase_start"]
    assert phases == ["transformer"]
    assert run.refined_file.read_bytes() != undisturbed.refined_file.read_bytes()


def test_a_damaged_kept_part_is_made_again(undisturbed: RunDirectory, tmp_path: Path) -> None:
    """One flipped bit in the refiner's text: never used, and the result is that of the undamaged run."""
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(undisturbed.path, run.path)
    run.clear_stage("refiner")
    data = bytearray(run.refiner_text_file.read_bytes())
    data[-3] ^= 1
    run.refiner_text_file.write_bytes(data)
    run_stage_here(run, "refiner")
    assert run.refined_file.read_bytes() == undisturbed.refined_file.read_bytes()
    assert run.refiner_text_file.read_bytes() == undisturbed.refiner_text_file.read_bytes()


def test_the_video_itself_gives_the_manifest_that_made_it(undisturbed: RunDirectory) -> None:
    assert manifest_of_run(undisturbed.video_file) == undisturbed.read_manifest()
