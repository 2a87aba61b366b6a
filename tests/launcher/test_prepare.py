"""Whose a run directory is, and what may be deleted in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fake_runs import actions, go
from sana_wm.durable import make_part
from sana_wm.errors import (
    HandoffError,
)
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.preflight.checks import resolve_manifest
from sana_wm.runs.lock import owning
from sana_wm.runs.prepare import check_receipts, check_unchanged, prepare
from sana_wm.runs.run_directory import RunDirectory


@pytest.mark.parametrize("name", ["latents", "checkpoints", "receipts", "video.mp4"])
def test_links_in_the_directory_are_refused(
    run: RunDirectory, resolved: RunManifest, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (run.path / name).symlink_to(outside)
    with pytest.raises(HandoffError, match="is a link") as caught:
        go(run, resolved)
    assert caught.value.exit_code == 4
    with pytest.raises(HandoffError, match="is a link"):
        prepare(run, resolved, force=True)
    assert list(outside.iterdir()) == []


def test_another_manifest_is_refused_and_force_deletes_only_what_changes(
    run: RunDirectory, resolved: RunManifest, write_manifest: Callable[..., Path]
) -> None:
    go(run, resolved)
    other = resolve_manifest(load_manifest(write_manifest(refiner__seed=7), {}))
    with pytest.raises(HandoffError, match=r"refiner\.seed: 42 -> 7") as caught:
        prepare(run, other, force=False)
    assert caught.value.exit_code == 4
    assert actions(run, resolved) == ["skip"] * 3
    deleted = prepare(run, other, force=True)
    assert run.refined_file in deleted
    assert run.video_file in deleted
    assert run.stage1_file not in deleted
    assert actions(run, other) == ["skip", "run", "run"]


def test_force_takes_over_a_directory_whose_manifest_is_damaged_and_keeps_what_its_receipts_vouch_for(
    run: RunDirectory, resolved: RunManifest, write_manifest: Callable[..., Path]
) -> None:
    go(run, resolved)
    other = resolve_manifest(load_manifest(write_manifest(refiner__seed=7), {}))
    run.manifest_file.write_text("{")
    with pytest.raises(HandoffError, match="is damaged"):
        prepare(run, resolved, force=False)
    prepare(run, resolved, force=True)
    assert actions(run, resolved) == ["skip"] * 3
    run.manifest_file.write_text("{")
    prepare(run, other, force=True)
    assert actions(run, other) == ["skip", "run", "run"]


def test_a_run_does_not_go_on_under_the_manifest_of_another(
    run: RunDirectory, resolved: RunManifest, write_manifest: Callable[..., Path]
) -> None:
    go(run, resolved)
    check_receipts(run, resolved)
    run.write_manifest(resolve_manifest(load_manifest(write_manifest(refiner__seed=7), {})))
    with pytest.raises(HandoffError, match=r"ran under; got refiner\.seed: 42 -> 7") as caught:
        check_receipts(run, run.read_manifest())
    assert caught.value.exit_code == 4


def test_a_run_that_another_command_changed_meanwhile_is_left_alone(run: RunDirectory, resolved: RunManifest) -> None:
    check_unchanged(run, resolved)
    other = resolved.model_copy(update={"stage1": resolved.stage1.model_copy(update={"seed": 7})})
    run.write_manifest(other)
    with pytest.raises(HandoffError, match="was changed by another command"):
        check_unchanged(run, resolved)
    go(run, other)
    run.write_manifest(resolved)
    with pytest.raises(HandoffError, match="is not the manifest that stage1"):
        check_unchanged(run, resolved)


def test_a_run_that_lost_its_manifest_is_taken_over_by_force_alone(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    run.manifest_file.unlink()
    with pytest.raises(HandoffError, match=r"has lost its manifest\.json.*run-pipeline --force"):
        prepare(run, resolved, force=False)
    other = resolved.model_copy(update={"refiner": resolved.refiner.model_copy(update={"seed": 7})})
    deleted = prepare(run, other, force=True)
    assert run.refined_file in deleted
    assert run.stage1_file not in deleted
    assert actions(run, other) == ["skip", "run", "run"]


def test_a_folder_that_is_no_run_directory_is_left_alone(resolved: RunManifest) -> None:
    directory = RunDirectory(Path(resolved.output_dir))
    directory.path.mkdir()
    (directory.path / "thesis.txt").write_text("precious")
    with pytest.raises(HandoffError, match=r"thesis\.txt"):
        prepare(directory, resolved, force=True)
    assert (directory.path / "thesis.txt").read_text() == "precious"


def test_a_directory_with_nothing_but_a_half_written_manifest_is_taken(resolved: RunManifest) -> None:
    """What a kill during the first write leaves; found by the kill matrix."""
    directory = RunDirectory(Path(resolved.output_dir))
    make_part(directory.manifest_file).write_text("{")
    with owning(directory):
        prepare(directory, resolved, force=False)
    assert directory.read_manifest() == resolved
