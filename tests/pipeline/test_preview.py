"""The preview of real latents: what the run would show without its refiner, whoever interrupts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.pipeline.streaming_runs import run_here, run_stage_here, tiny_student, write_streaming_manifest

from sana_wm.names import Stage
from sana_wm.planning.space import check_space
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify
from sana_wm.video.reader import probe, read_frames

EditManifest = Callable[..., None]
SanaWM = Callable[..., tuple[int, str, str]]


def frames_of(video: Path) -> list[bytes]:
    return [frame.tobytes() for frame in read_frames(video)]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path, edit_run_manifest: EditManifest) -> RunDirectory:
    """A finished run of which only Stage 1 is kept, with its preview to come."""
    run = RunDirectory(Path(shutil.copytree(finished_run, tmp_path / "run")))
    for stage in ("refiner", "vae_decode"):
        run.clear_stage(stage)
    run.metrics_file.unlink()
    edit_run_manifest(run.path, preview__enabled=True, video__overlay=False)
    return run


def killed_at(run: RunDirectory, stage: Stage, file: str) -> int:
    """Exit code of a stage that is killed once a file is on the disk."""
    fault = {"role": "stage", "point": "after fsync", "file": file, "signal": "SIGKILL", "target": "stage"}
    faults = Path(__file__).parent / "faults"
    paths = os.pathsep.join([str(faults), *filter(None, [os.getenv("PYTHONPATH")])])
    marker = str(run.path.parent / "marker")
    environment = {"PYTHONPATH": paths, "SANA_WM_TEST_FAULT": json.dumps({**fault, "marker": marker})}
    command = [sys.executable, "-m", "sana_wm.stages", stage, str(run.path)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=False).returncode


def test_it_shows_what_the_run_would_without_its_refiner_and_goes_on_after_a_kill(
    run: RunDirectory, edit_run_manifest: EditManifest
) -> None:
    assert killed_at(run, "preview", "00001.mp4") != 0
    assert not run.preview_file.exists()
    run_stage_here(run, "preview")
    receipt = read_receipt(run, "preview")
    assert receipt is not None
    assert set(receipt.inputs) == {"latents/stage1.safetensors"}
    assert set(receipt.outputs) == {"preview.mp4"}
    assert receipt.plan["frames_decoded"] == 57 - 32  # the first segment was kept
    assert {link.name for link in verify(run) if link.state == "unfinished"} == {
        "refiner/receipt",
        "vae_decode/receipt",
    }
    check_space(run, run.read_manifest(), "preview")
    edit_run_manifest(run.path, refiner__enabled=False)
    run_stage_here(run, "vae_decode")
    assert probe(run.preview_file).num_frames == 57
    assert frames_of(run.preview_file) == frames_of(run.video_file)


@pytest.mark.long
def test_a_streaming_run_is_looked_at_and_refined_by_command(tmp_path: Path, sana_wm: SanaWM) -> None:
    model = tiny_student(tmp_path / "weights")
    manifest = write_streaming_manifest(tmp_path / "run", model, 49, preview__enabled=True)
    run = RunDirectory(tmp_path / "run")
    code, out, err = sana_wm("run-pipeline", manifest, "--to", "preview", "--json")
    assert code == 0, err
    assert json.loads(out) == {
        "video": None,
        "metrics": None,
        "stopped_after": "preview",
        "outputs": [str(run.preview_file)],
        "next": f"sana-wm refine {run.path}",
    }
    assert probe(run.preview_file).num_frames == 49
    before = run.preview_file.stat().st_mtime_ns, run.stage1_file.stat().st_mtime_ns
    code, out, err = sana_wm("refine", run.path, "--dry-run", "--json")
    assert code == 0, err
    assert [row["action"] for row in json.loads(out)] == ["skip", "skip", "run", "run"]
    code, out, err = sana_wm("refine", run.path)
    assert (code, out) == (0, f"video: {run.video_file}\n"), err
    assert "\nnext:\n  sana-wm report " in err
    assert (run.preview_file.stat().st_mtime_ns, run.stage1_file.stat().st_mtime_ns) == before
    assert sana_wm("verify", run.path)[0] == 0
    code, out, _ = sana_wm("status", run.path, "--json")
    assert [one["state"] for one in json.loads(out)["stages"]] == ["skipped", "skipped", "done", "done"]
    assert sana_wm("report", run.path)[0] == 0
    page = run.report_file.read_text()
    assert "Preview: what Stage 1 left" in page
    assert page.count("data:video/mp4") == 2


def test_a_draft_is_not_refined_but_promoted(tmp_path: Path, sana_wm: SanaWM) -> None:
    model = tiny_student(tmp_path / "weights")
    manifest = write_streaming_manifest(tmp_path / "run", model, 49, refiner__enabled=False, preview__enabled=True)
    run = run_here(manifest, ("stage1",))
    code, _, err = sana_wm("refine", run.path)
    assert code == 2
    assert "is a draft: its manifest has no refiner" in err
    assert f"sana-wm promote {run.path}" in err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--to", "video"], "--to names no stage; got 'video'; expected stage1, preview, refiner, vae_decode"),
        (
            ["--to", "preview"],
            "--to names a stage that this manifest does not run; got preview: preview.enabled is false",
        ),
    ],
)
def test_a_stage_that_is_none_is_named(
    write_manifest: Callable[..., Path], sana_wm: SanaWM, asked: list[str], said: str
) -> None:
    code, _, err = sana_wm("run-pipeline", write_manifest(), *asked)
    assert (code, said in err) == (2, True), err
