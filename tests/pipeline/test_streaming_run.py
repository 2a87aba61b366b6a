"""The streaming model from its manifest to a video, and on from there: the same bits as one long run.

One set of runs for all tests, of the fewest frames. Stages run in this process; what is about processes is long.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.pipeline.extending import changed, draft, extend_here, gone, latents, prompts_by_chunk, same_latents
from tests.pipeline.streaming_runs import run_here, run_stage_here, tiny_student, write_streaming_manifest

from sana_wm.camera.move_path import resolve_move
from sana_wm.camera.of_manifest import load_trajectory
from sana_wm.catalogue.pruning import prune_run
from sana_wm.durable import sha256_of
from sana_wm.errors import HandoffError
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.model import Stage1Section
from sana_wm.preflight.checks import current_weights
from sana_wm.runs.inheritance import take_over
from sana_wm.runs.metrics import write_metrics
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify
from sana_wm.runtime.latents import save_tensors
from sana_wm.video.reader import probe, read_frames

SHORT_FRAMES, LONG_FRAMES, LONGEST_FRAMES = 49, 73, 97
RAIN = "It begins to rain."

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The `model` section of a tiny student."""
    return tiny_student(tmp_path_factory.mktemp("student") / "weights")


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory, student: dict[str, Any]) -> RunDirectory:
    """Two chunks, with what the last one left."""
    folder = tmp_path_factory.mktemp("streaming") / "short"
    return run_here(write_streaming_manifest(folder, student, SHORT_FRAMES, stage1__keep_state=True))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory, student: dict[str, Any]) -> RunDirectory:
    """Three chunks in one go."""
    folder = tmp_path_factory.mktemp("streaming") / "long"
    return run_here(write_streaming_manifest(folder, student, LONG_FRAMES))


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory, short: RunDirectory) -> RunDirectory:
    """`short`, which stays as it was, and a third chunk."""
    before = contents(short.path)
    run = extend_here(
        short, tmp_path_factory.mktemp("longer") / "longer", ("stage1", "refiner", "vae_decode"), seconds=1.5
    )
    assert contents(short.path) == before
    return run


@pytest.fixture(scope="module")
def rainy(tmp_path_factory: pytest.TempPathFactory, short: RunDirectory) -> RunDirectory:
    """A third chunk under another prompt, after a copy of `short` that lies beside it; its refiner is to come."""
    folder = tmp_path_factory.mktemp("rainy")
    shutil.copytree(short.path, folder / "short")
    return extend_here(RunDirectory(folder / "short"), folder / "rainy", ("stage1",), seconds=1.5, prompt=RAIN)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shown(run: RunDirectory) -> list[bytes]:
    return [frame.tobytes() for frame in read_frames(run.video_file)]


def test_a_finished_run_goes_on_with_the_bits_of_one_long_run(
    short: RunDirectory, long: RunDirectory, longer: RunDirectory
) -> None:
    assert same_latents(longer, long)
    assert shown(longer) == shown(long)
    assert probe(longer.video_file).num_frames == LONG_FRAMES - 1
    assert {link.name for link in verify(longer) if link.state != "holds"} <= {"metrics"}  # no command ran
    receipt = read_receipt(longer, "refiner")
    assert receipt is not None
    assert receipt.plan["earlier_blocks"] == 2
    made_from = longer.read_manifest().made_from
    assert made_from is not None
    assert (made_from.verb, made_from.run, made_from.frame) == ("extend", str(short.path), SHORT_FRAMES - 2)
    assert made_from.manifest_sha256 == sha256_of(short.manifest_file)
    assert made_from.changed == ("input.continues", "camera.action", "video.num_frames")


def test_an_extension_goes_on_with_the_bits_of_one_long_run(
    longer: RunDirectory, student: dict[str, Any], tmp_path: Path
) -> None:
    longest = extend_here(longer, tmp_path / "longest", seconds=1.5)
    at_once = write_streaming_manifest(tmp_path / "at_once", student, LONGEST_FRAMES, camera__action="w-48,l-48")
    assert same_latents(longest, run_here(at_once, ("stage1", "refiner")))


@pytest.mark.parametrize(
    "lost",
    [pytest.param(name, marks=pytest.mark.long) for name in ("the state", "the state of other weights")]
    + ["what was refined"],
)
def test_what_the_earlier_run_lost_is_made_again(
    short: RunDirectory, long: RunDirectory, tmp_path: Path, lost: str
) -> None:
    copy = RunDirectory(tmp_path / "copy")
    shutil.copytree(short.path, copy.path)
    if lost == "the state":
        copy.stage1_state_file.unlink()
    elif lost == "the state of other weights":
        save_tensors(copy.stage1_state_file, load_file(copy.stage1_state_file), {"stage": "stage1", "part": "state"})
    else:
        copy.refined_file.write_bytes(b"damaged")
    assert same_latents(extend_here(copy, tmp_path / "longer", action="l-24"), long)


def test_a_new_prompt_changes_what_is_new_alone(
    short: RunDirectory, long: RunDirectory, rainy: RunDirectory, student: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(rainy.path, tmp_path / "rainy")
    longer = RunDirectory(tmp_path / "rainy")
    run_stage_here(longer, "refiner")
    for file in ("stage1_file", "refined_file"):
        before, after, dry = (latents(getattr(run, file)) for run in (short, longer, long))
        old = before.shape[2]
        assert torch.equal(after[:, :, :old], before)
        assert not torch.equal(after[:, :, old:], dry[:, :, old:])
    at_once = write_streaming_manifest(tmp_path / "at_once", student, LONG_FRAMES, input__prompt=RAIN)
    assert torch.equal(latents(prompts_by_chunk(at_once, longer).stage1_file), latents(longer.stage1_file))


@contextmanager
def harmed(path: Path, harm: Callable[[Path], None]) -> Generator[None]:
    """Harm a file or folder, and put it back."""
    kept = path.with_name(f"{path.name}.kept")
    (shutil.copytree if path.is_dir() else shutil.copy2)(path, kept)
    try:
        harm(path)
        yield
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        kept.replace(path)


@pytest.mark.parametrize("harm", [changed, gone])
@pytest.mark.parametrize("file", ["stage1_file", "conditioning_file", "refined_file"])
def test_a_file_of_the_earlier_run_that_is_not_what_it_was_is_refused(
    rainy: RunDirectory, tmp_path: Path, sana_wm: Command, file: str, harm: Callable[[Path], None]
) -> None:
    """Stage 1's files before Stage 1, the refiner's before the refiner."""
    earlier = RunDirectory(rainy.path.with_name("short"))
    shutil.copytree(rainy.path, tmp_path / "rainy")
    begun = RunDirectory(tmp_path / "rainy")
    stage = "refiner" if file == "refined_file" else "stage1"
    if stage == "stage1":
        begun.clear_stage("stage1", lambda _: None)
    path = getattr(earlier, file)
    with harmed(path, harm):
        with pytest.raises(HandoffError, match=r"input\.continues.* changed since the run began"):
            run_stage_here(begun, stage)
        code, _, said = sana_wm("resume", begun.path)
    assert (code, read_receipt(begun, stage)) == (4, None), said
    assert str(path) in said
    assert "Put the file back" in said


def test_a_run_that_was_moved_away_is_refused(rainy: RunDirectory, sana_wm: Command) -> None:
    with harmed(rainy.path.with_name("short"), gone):
        code, _, said = sana_wm("resume", rainy.path)
    assert code == 4
    assert "got no file" in said


def test_earlier_frames_are_not_refined_again_under_another_prompt(rainy: RunDirectory) -> None:
    receipt = RunDirectory(rainy.path.with_name("short")).receipt_file("refiner")
    with harmed(receipt, gone), pytest.raises(HandoffError, match="under another prompt: its refiner is not finished"):
        run_stage_here(rainy, "refiner")


def test_a_run_that_lost_what_it_refined_takes_no_new_prompt(
    short: RunDirectory, tmp_path: Path, sana_wm: Command
) -> None:
    with harmed(short.refined_file, gone):
        code, _, said = sana_wm("extend", short.path, "--prompt", RAIN, "--out", tmp_path / "longer")
    assert code == 4
    assert "refined.safetensors is missing" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        (["--seconds", 2], ["whole chunks of 24 frames, 1.5 s", "got 32 frames", "24 (1.5 s) or 48 (3 s)", "Change"]),
        (["--seconds", 0.5], ["got 8 frames", "expected 24 (1.5 s)"]),
        (["--seconds", "inf"], ["longer than 8185 frames", "got 49 + inf frames"]),
        (["--seconds", 510], ["longer than 8185 frames", "got 49 + 8160 frames", "at most 8136 more, 508.5 s", "Add"]),
        (["--action", "w-30"], ["whole chunks", "got 30 frames", "24 (1.5 s) or 48 (3 s)"]),
        (["--move", "push-in", "--seconds", "inf"], ["longer than 8185 frames"]),
        (["--move", "push-in:1s"], ["whole chunks", "got 16 frames"]),
        (["--move", "push-in:1.5s", "--seconds", 3], ["shorter than --seconds", "got 24 frames"]),
        (["--move", "push-in", "--action", "w-24"], ["--action and --move exclude each other"]),
        (["--action", "w-24", "--seconds", 3], ["shorter than --seconds", "got 24 frames", "expected 48 frames"]),
    ],
)
def test_a_length_that_cannot_be_made_is_refused(
    short: RunDirectory, tmp_path: Path, sana_wm: Command, asked: list[object], parts: list[str]
) -> None:
    code, _, said = sana_wm("extend", short.path, *asked, "--out", tmp_path / "longer")
    assert code == 2
    assert [part for part in parts if part not in said] == [], said
    assert list(tmp_path.iterdir()) == []


def test_the_longest_video_can_be_asked_for(short: RunDirectory, tmp_path: Path) -> None:
    assert '"num_frames": 8185' in draft(short, tmp_path / "longer", seconds=508.5).read_text()


def test_moves_go_on_as_keys_where_the_run_s_speeds_serve(short: RunDirectory, tmp_path: Path) -> None:
    data = json.loads(draft(short, tmp_path / "longer", move="pan-left,push-in:0.5s", seconds=1.5).read_text())
    assert data["camera"]["action"] == "w-48,j-16,w-8"
    assert data["video"]["num_frames"] == LONG_FRAMES
    assert not (tmp_path / "longer-camera.npy").exists()


@pytest.mark.parametrize("move", ["crane-up:1.5s", "truck-right:1.5s@2"])
def test_moves_that_the_run_s_keys_cannot_do_go_on_as_poses(short: RunDirectory, tmp_path: Path, move: str) -> None:
    manifest = draft(short, tmp_path / "longer", move=move)
    camera = json.loads(manifest.read_text())["camera"]
    assert (camera["action"], camera["poses_convention"]) == (None, "opencv_c2w")
    shown = load_trajectory(short.read_manifest()).c2w[:SHORT_FRAMES]
    way = load_trajectory(load_manifest(manifest, os.environ)).c2w
    np.testing.assert_allclose(way[:SHORT_FRAMES], shown, rtol=0, atol=1e-6)
    following = resolve_move(move, start=shown[-1]).trajectory.c2w
    np.testing.assert_allclose(way[SHORT_FRAMES - 1 :], following, rtol=0, atol=1e-6)


@pytest.mark.parametrize("missing", ["stage1", "refiner", "vae_decode"])
def test_an_unfinished_run_is_refused(short: RunDirectory, tmp_path: Path, sana_wm: Command, missing: str) -> None:
    with harmed(short.path / "receipts" / f"{missing}.json", gone):
        code, _, said = sana_wm("extend", short.path, "--out", tmp_path / "longer")
    assert code == 4
    for part in ("is not finished", f"got no receipt of {missing}", "expected a finished run", "sana-wm resume"):
        assert part in said


def test_a_pruned_run_is_refused_with_what_makes_its_latents_again(
    short: RunDirectory, tmp_path: Path, sana_wm: Command
) -> None:
    run = RunDirectory(Path(shutil.copytree(short.path, tmp_path / "short")))
    write_metrics(run, run.read_manifest(), ["stage1", "refiner", "vae_decode"], 1.0)  # as the end of a command does
    prune_run(run, latents=True)
    code, _, said = sana_wm("extend", run.path)
    assert code == 4
    assert "latents/stage1.safetensors was pruned" in said
    assert f"sana-wm resume {run.path} --from stage1" in said
    assert list(tmp_path.iterdir()) == [run.path]


@pytest.mark.parametrize("way", [["--move", "crane-up:1.5s"], ["--action", "w-24"], []], ids=" ".join)
def test_a_dry_run_of_an_extension_leaves_nothing_behind(short: RunDirectory, sana_wm: Command, way: list[str]) -> None:
    before = contents(short.path.parent)
    code, out, said = sana_wm("extend", short.path, *way, "--dry-run")
    assert code == 0, said
    assert "stage1     run" in out
    assert f"run: {short.path}-2" in said
    assert contents(short.path.parent) == before


def test_an_extension_can_wait_in_the_queue(
    short: RunDirectory, tmp_path: Path, sana_wm: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    longer = tmp_path / "runs" / "longer"
    asked = ("extend", short.path, "--move", "crane-up:1.5s", "--out", longer, "--queue")
    assert sana_wm(*asked, "--dry-run")[0] == 2
    assert list(tmp_path.iterdir()) == []
    code, out, said = sana_wm(*asked, "--json")
    assert code == 0, said
    (job,) = json.loads(out)
    assert (job["state"], job["run_dir"]) == ("waiting", str(longer))
    queued = load_manifest(tmp_path / "runs" / "queue" / "0001" / "manifest.json", os.environ)
    assert queued.input.continues == str(short.stage1_file)
    assert queued.video.num_frames == LONG_FRAMES
    assert {path.name for path in longer.parent.iterdir()} == {"queue", "longer.json", "longer-camera.npy"}
    code, _, said = sana_wm(*asked)
    assert (code, "is there already" in said) == (2, True)


def test_a_bidirectional_run_is_refused(short: RunDirectory, tmp_path: Path, sana_wm: Command) -> None:
    manifest = short.read_manifest()
    model = manifest.model.model_copy(update={"variant": "bidirectional"})
    run = RunDirectory(tmp_path / "run")
    run.write_manifest(manifest.model_copy(update={"model": model, "stage1": Stage1Section()}))
    code, _, said = sana_wm("extend", run.path)
    assert code == 2
    for part in ("cannot be gone on from", f"got {run.path}", "expected a run of the streaming model", "run-pipeline"):
        assert part in said


def test_an_extension_uses_the_prompt_and_the_picture_again(
    short: RunDirectory, longer: RunDirectory, tmp_path: Path
) -> None:
    run = run_here(draft(short, tmp_path / "longer", seconds=1.5), ())
    take_over(run, run.read_manifest(), current_weights(run.read_manifest()))
    run_stage_here(run, "stage1")
    receipt = read_receipt(run, "stage1")
    assert receipt is not None
    assert [phase.name for phase in receipt.phases] == ["transformer"]
    assert run.conditioning_file.read_bytes() == longer.conditioning_file.read_bytes()
    assert run.stage1_file.read_bytes() == longer.stage1_file.read_bytes()


def test_a_preset_of_the_other_model_is_refused(short: RunDirectory, sana_wm: Command) -> None:
    code, _, said = sana_wm("promote", short.path, "--preset", "fast")
    assert code == 2
    assert "there is no preset fast of the streaming" in said
    assert not short.path.with_name("short-2.json").exists()


def test_clip_noise_is_said_to_depend_on_the_length(short: RunDirectory, tmp_path: Path, sana_wm: Command) -> None:
    manifest = draft(short, tmp_path / "longer")
    manifest.write_text(manifest.read_text().replace('"chunk_noise": "chunk"', '"chunk_noise": "clip"'))
    code, _, said = sana_wm("validate-manifest", manifest)
    assert code == 0
    assert "clip draws noise by the length" in said
