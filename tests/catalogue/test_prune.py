"""`runs prune`: finished runs lose what their videos do not need, and no reader calls that damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.catalogue.entry import read_entry
from sana_wm.catalogue.pruning import prune_run
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES
from sana_wm.pipeline import active_stages
from sana_wm.runs.decisions import StageDecision, decide, stages_to_run
from sana_wm.runs.inheritance import take_over
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify
from sana_wm.weights.manifest_layout import WeightFile, identify_weights, locate_weights

SanaWM = Callable[..., tuple[int, str, str]]
CopyRun = Callable[..., Path]
LATENTS = ["conditioning", "refined", "refiner_text", "stage1"]


def states(run: Path) -> dict[str, str]:
    return {link.name: link.state for link in verify(RunDirectory(run))}


def decisions(run: Path) -> list[StageDecision]:
    directory = RunDirectory(run)
    manifest = directory.read_manifest()
    return decide(directory, manifest, weights_of(manifest))


def weights_of(manifest: RunManifest) -> list[WeightFile]:
    layout = locate_weights(manifest)
    return [file for stage in STAGES for file in identify_weights(layout, stage)]


def decided(run: Path) -> list[str]:
    return [*stages_to_run(decisions(run))]


def test_without_latents_only_leftovers_go(copy_run: CopyRun, sana_wm: SanaWM) -> None:
    run = copy_run("run")
    before = states(run)
    code, out, err = sana_wm("runs", "prune", run, "--yes")
    assert code == 0, err
    assert "nothing to prune" in out
    leftovers = ["growing.mp4", "checkpoints/vae_decode/00000.mp4", ".sana-wm-0123456789abcdef.part.png"]
    for name in leftovers:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(b"12345")
    code, out, err = sana_wm("runs", "prune", run, "--yes", "--json")
    assert code == 0, err
    assert json.loads(out) == {"pruned": {str(run): sorted(leftovers)}, "freed_bytes": 15}
    assert not any((run / name).exists() for name in leftovers)
    assert states(run) == before


def test_pruned_latents_are_no_damage(copy_run: CopyRun, sana_wm: SanaWM) -> None:
    run = copy_run("run")
    video = (run / "video.mp4").read_bytes()
    code, out, err = sana_wm("runs", "prune", run, "--latents", "--yes")
    assert code == 0, err
    assert "can no longer be branched or extended" in out
    assert sorted(path.stem for path in (run / "latents").iterdir()) == []
    assert (run / "video.mp4").read_bytes() == video
    found = states(run)
    assert {name for name, state in found.items() if state == "pruned"} == {"stage1/outputs", "refiner/outputs"}
    assert "broken" not in found.values()
    assert read_entry(RunDirectory(run)).state == "finished"
    code, out, err = sana_wm("verify", run)
    assert code == 0, err
    assert "pruned    removed on purpose: latents/conditioning.safetensors" in out
    code, out, err = sana_wm("resume", run, "--dry-run")
    assert code == 0, err
    assert out.count("skip") == len(active_stages(RunDirectory(run).read_manifest()))
    assert sana_wm("report", run)[0] == 0


def test_what_needs_pruned_latents_has_them_made_again(copy_run: CopyRun) -> None:
    run = copy_run("run")
    prune_run(RunDirectory(run), latents=True)
    assert decided(run) == []
    (run / "contact_sheet.png").unlink()
    assert decided(run) == ["stage1", "refiner", "vae_decode"]


def test_a_stage_is_made_again_only_as_far_back_as_latents_are_gone(copy_run: CopyRun, finished_run: Path) -> None:
    run = copy_run("run")
    prune_run(RunDirectory(run), latents=True)
    shutil.copy(finished_run / "latents" / "refined.safetensors", run / "latents")
    (run / "contact_sheet.png").unlink()
    assert decided(run) == ["vae_decode"]


def test_what_is_lost_or_changed_afterwards_is_damage(copy_run: CopyRun, finished_run: Path) -> None:
    run = copy_run("run")
    prune_run(RunDirectory(run), latents=True)
    shutil.copy(finished_run / "latents" / "stage1.safetensors", run / "latents")
    assert states(run)["stage1/outputs"] == "pruned"  # its conditioning is still gone
    with (run / "latents" / "stage1.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    assert states(run)["stage1/outputs"] == "broken"
    (run / "video.mp4").unlink()
    assert states(run)["vae_decode/outputs"] == "broken"


def test_a_prune_that_was_cut_short_leaves_a_whole_run(
    copy_run: CopyRun, monkeypatch: pytest.MonkeyPatch, sana_wm: SanaWM
) -> None:
    run = copy_run("run")

    def pull_the_plug(path: Path) -> None:
        if path.name == "refined.safetensors":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune_run(RunDirectory(run), latents=True, say=pull_the_plug)
    assert not (run / "latents" / "conditioning.safetensors").exists()
    assert (run / "latents" / "stage1.safetensors").exists()
    assert "broken" not in states(run).values()
    assert sana_wm("runs", "prune", run, "--latents", "--yes")[0] == 0
    assert "broken" not in states(run).values()


def test_an_unfinished_run_keeps_everything(copy_run: CopyRun, sana_wm: SanaWM) -> None:
    run = copy_run("run")
    (run / "receipts" / "vae_decode.json").unlink()
    code, _, err = sana_wm("runs", "prune", run, "--latents", "--yes")
    assert code == 4
    assert "is not finished" in err
    assert len(list((run / "latents").iterdir())) == len(LATENTS)


def test_all_finished_runs_of_the_folder_are_meant_when_none_is_named(
    runs: Path, copy_run: CopyRun, sana_wm: SanaWM, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_run("one")
    (copy_run("unfinished") / "receipts" / "vae_decode.json").unlink()
    monkeypatch.chdir(runs.parent)
    code, out, err = sana_wm("runs", "prune", "--latents", "--json")
    assert (code, out) == (2, ""), err
    code, out, err = sana_wm("runs", "prune", "--latents", "--yes", "--json")
    assert code == 0, err
    assert list(json.loads(out)["pruned"]) == [str(runs / "one")]
    assert list((runs / "unfinished" / "latents").iterdir())


def test_what_a_child_shares_stays_its_own(copy_run: CopyRun) -> None:
    parent = copy_run("parent")
    child = copy_run("child", parent)
    shared = child / "latents" / "stage1.safetensors"
    shared.unlink()
    shared.hardlink_to(parent / "latents" / "stage1.safetensors")
    prune_run(RunDirectory(parent), latents=True)
    assert "broken" not in states(child).values()
    receipt = read_receipt(RunDirectory(child), "stage1")
    assert receipt is not None
    assert receipt.pruned == ()


def test_a_new_child_takes_over_what_is_left_of_a_pruned_parent(copy_run: CopyRun, finished_run: Path) -> None:
    parent = copy_run("parent")
    child = copy_run("child", parent)
    for path in child.iterdir():
        if path.name != "manifest.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    prune_run(RunDirectory(parent), latents=True)
    assert "its latents were pruned" in decisions(child)[0].reason
    shutil.copy(finished_run / "latents" / "stage1.safetensors", parent / "latents")
    assert decisions(child)[0].action == "skip"
    run = RunDirectory(child)
    manifest = run.read_manifest()
    take_over(run, manifest, weights_of(manifest))
    assert states(child)["stage1/outputs"] == "pruned"  # its conditioning was, before
    assert (child / "latents" / "stage1.safetensors").stat().st_nlink == 2
