"""What a start refuses before anything is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fake_runs import SilentView, fake, go
from sana_wm.errors import (
    HandoffError,
    IncompleteWeightsError,
)
from sana_wm.handoff.chain import require_inputs
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.launcher.decisions import decide
from sana_wm.launcher.preflight import resolve_manifest
from sana_wm.launcher.run import execute
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES


def test_missing_weights_are_said_before_anything_is_touched(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    moved = resolved.model_copy(update={"model": resolved.model.model_copy(update={"root": str(run.path / "nowhere")})})
    before = run.receipt_file("refiner").read_bytes()
    decisions = decide(run, moved, [], "refiner")
    with pytest.raises(IncompleteWeightsError) as caught:
        execute(run, moved, decisions, environment=os.environ, view=SilentView(), start_from="refiner", command=fake())
    assert caught.value.exit_code == 3
    assert str(caught.value).endswith("run it again with run-pipeline: this run goes on.")
    assert run.receipt_file("refiner").read_bytes() == before
    assert run.refined_file.exists()


def test_a_poses_file_that_changed_is_not_drawn_over_another_camera_path(
    write_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    poses = tmp_path / "poses.npy"
    np.save(poses, np.tile(np.eye(4), (9, 1, 1)))
    path = write_manifest(camera__poses=str(poses), camera__action=..., video__overlay=True)
    manifest = resolve_manifest(load_manifest(path, {}))
    plain = manifest.model_copy(update={"video": manifest.video.model_copy(update={"overlay": False})})
    for stage in STAGES:
        require_inputs(manifest, stage)
    np.save(poses, np.tile(2 * np.eye(4), (9, 1, 1)))
    for reads, stage in ((manifest, "stage1"), (manifest, "vae_decode"), (plain, "stage1")):
        with pytest.raises(HandoffError, match=r"camera\.poses changed since the run began"):
            require_inputs(reads, stage)
    require_inputs(manifest, "refiner")
    require_inputs(plain, "vae_decode")


def test_resume_looks_again_once_it_owns_the_run(
    run: RunDirectory,
    resolved: RunManifest,
    sana_wm: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = resolved.model_copy(update={"stage1": resolved.stage1.model_copy(update={"seed": 7})})
    # The last step before it takes the lock: another command was as fast.
    monkeypatch.setattr("sana_wm.launcher.numerics_gate.NumericsGate.check", lambda *_: run.write_manifest(other))
    code, _, err = sana_wm("resume", run.path, "--accept-over-cap")
    assert code == 4
    assert "was changed by another command" in err
    assert not run.events_file("stage1").exists()


def test_a_dry_run_refuses_what_the_run_would(
    run: RunDirectory, resolved: RunManifest, sana_wm: Callable[..., tuple[int, str, str]]
) -> None:
    Path(resolved.input.image).unlink()
    code, out, err = sana_wm("resume", run.path, "--dry-run")
    assert code == 4
    assert "not done yet" in out
    assert "input.image changed since the run began" in err
