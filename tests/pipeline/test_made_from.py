"""Runs made from another: what they take over, what they begin with, and what they never touch.

One parent for all tests. Stages run in this process, but where a test is about which processes a command starts.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import draw_picture, tiny_manifest
from tests.pipeline.streaming_runs import run_here, run_stage_here

from sana_wm.camera.of_manifest import load_camera_path, load_intrinsics
from sana_wm.catalogue.pruning import prune_run
from sana_wm.drafting.branching import parse_frame, write_branch
from sana_wm.drafting.lineage import find_parent
from sana_wm.drafting.new_run import frame_beside
from sana_wm.drafting.request import VideoRequest
from sana_wm.drafting.variation import write_variations
from sana_wm.durable import sha256_of
from sana_wm.models.loading import load_vae
from sana_wm.models.vae.first_frame import encode_first_frame
from sana_wm.names import Stage
from sana_wm.preflight.checks import current_weights
from sana_wm.preflight.prospect import inspect
from sana_wm.runs.decisions import decide
from sana_wm.runs.inheritance import take_over
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify
from sana_wm.runtime.latents import load_tensors
from sana_wm.stages.frame.__main__ import decode_frame
from sana_wm.weights.manifest_layout import locate_weights

HEIGHT, WIDTH, FRAMES = 96, 128, 25

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, dict[str, Any]]) -> RunDirectory:
    """A finished run whose picture is cut on both sides, with a lens that zooms, and its frames as PNG."""
    folder = tmp_path_factory.mktemp("made_from")
    data = tiny_manifest(draw_picture(folder / "picture.png"), tiny_models["diffusers"])
    zoom = np.linspace(160.0, 200.0, FRAMES)
    np.save(folder / "lens.npy", np.stack([zoom, zoom, np.full(FRAMES, 100.0), np.full(FRAMES, 60.0)], axis=1))
    data["camera"] = {"action": "w-16,l-8", "intrinsics": str(folder / "lens.npy")}
    data["video"] = {"num_frames": FRAMES, "height": HEIGHT, "width": WIDTH, "frames_dir": str(folder / "frames")}
    data["preview"] = {"enabled": False}
    data["output_dir"] = str(folder / "runs" / "first")
    (folder / "manifest.json").write_text(json.dumps(data))
    run = run_here(folder / "manifest.json", ("stage1", "refiner", "vae_decode"))
    _end_as_a_command_does(run)
    return run


def _end_as_a_command_does(run: RunDirectory) -> None:
    from sana_wm.runs.metrics import write_metrics

    write_metrics(run, run.read_manifest(), ["stage1", "refiner", "vae_decode"], 1.0)


@pytest.fixture
def parent(made: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of it, with nothing beside it."""
    shutil.copytree(made.path, tmp_path / "runs" / "first")
    return RunDirectory(tmp_path / "runs" / "first")


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def write_one(parent: RunDirectory, **said: Any) -> Path:
    """The manifest of a variation."""
    (new,) = write_variations(find_parent(parent.path), "vary", VideoRequest(**said), {})
    return new.manifest_path


def settle(manifest: Path) -> RunDirectory:
    """What a start does before its first stage."""
    run = run_here(manifest, ())
    take_over(run, run.read_manifest(), current_weights(run.read_manifest()))
    return run


def decisions(run: RunDirectory) -> dict[str, tuple[str, str]]:
    manifest = run.read_manifest()
    return {one.stage: (one.action, one.reason) for one in decide(run, manifest, current_weights(manifest))}


def phases(run: RunDirectory, stage: str) -> list[str]:
    receipt = read_receipt(run, stage)  # pyright: ignore[reportArgumentType]
    assert receipt is not None
    return [phase.name for phase in receipt.phases]


def fresh(manifest: Path, folder: Path, stages: tuple[Stage, ...] = ("stage1", "refiner")) -> RunDirectory:
    """The same run made from nothing, in this process."""
    data = json.loads(manifest.read_text()) | {"made_from": None, "output_dir": str(folder / "fresh")}
    (folder / "fresh.json").write_text(json.dumps(data))
    return run_here(folder / "fresh.json", stages)


def test_another_refiner_seed_runs_no_stage1_and_makes_the_bits_of_a_fresh_run(
    parent: RunDirectory, tmp_path: Path
) -> None:
    """By the command, in real processes; the parent is deleted afterwards, and the new run stands."""
    before = contents(parent.path)
    command = [sys.executable, "-m", "sana_wm", "vary", str(parent.path), "--refiner-seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"stage1     skip taken from {parent.path}" in done.stderr
    assert contents(parent.path) == before
    run = RunDirectory(parent.path.with_name("first-2"))
    assert not run.events_file("stage1").exists()
    assert not run.log_file("stage1").exists()
    assert phases(run, "refiner") == ["transformer"]  # the prompt was encoded before
    assert run.stage1_file.stat().st_ino == parent.stage1_file.stat().st_ino
    shutil.rmtree(parent.path)
    assert {link.name: link.detail for link in verify(run) if link.state != "holds"} == {}
    receipt = read_receipt(run, "stage1")
    assert receipt is not None
    assert receipt.taken_from is not None
    assert receipt.taken_from.run == str(parent.path)
    made_from = run.read_manifest().made_from
    assert made_from is not None
    assert made_from.changed == ("refiner.seed",)
    again = fresh(parent.path.with_name("first-2.json"), tmp_path)
    assert run.stage1_file.read_bytes() == again.stage1_file.read_bytes()
    assert run.refined_file.read_bytes() == again.refined_file.read_bytes()


@pytest.mark.parametrize(
    ("said", "encoded", "changed"),
    [
        ({"seed": 7}, [], ("stage1.seed",)),
        ({"prompt": "Rain."}, ["text_encoder"], ("input.prompt",)),
        ({"action": "s-24"}, [], ("camera.action",)),
    ],
    ids=["seed", "prompt", "action"],
)
def test_each_part_that_is_the_same_is_used_again(
    said: dict[str, Any], encoded: list[str], changed: tuple[str, ...], parent: RunDirectory, tmp_path: Path
) -> None:
    manifest = write_one(parent, **said)
    plan = inspect(manifest, {}).plan
    assert plan is not None
    timed = [phase.phase for phase in plan.phases if phase.stage == "stage1" and phase.seconds]
    assert [phase for phase in timed if phase not in ("starting", "saving")] == [*encoded, "transformer"]
    run = settle(manifest)
    before = contents(parent.path)
    action, reason = decisions(run)["stage1"]
    assert action == "run"
    assert f"from {parent.path}: " in reason
    assert ("prompt embeddings" in reason, "first-frame latents" in reason) == ("prompt" not in said, True)
    assert ("camera tensors" in reason) == ("action" not in said)
    run_stage_here(run, "stage1")
    assert phases(run, "stage1") == [*encoded, "transformer"]
    assert contents(parent.path) == before, "what is linked is never written to"
    again = fresh(manifest, tmp_path, ("stage1",))
    assert run.conditioning_file.read_bytes() == again.conditioning_file.read_bytes()
    assert run.stage1_file.read_bytes() == again.stage1_file.read_bytes()
    made_from = run.read_manifest().made_from
    assert made_from is not None
    assert made_from.changed == changed


def test_refined_latents_of_others_are_not_taken_where_stage1_is_the_runs_own(parent: RunDirectory) -> None:
    """Its own Stage 1 has another seed; the refiner's settings alone would fit."""
    run = settle(write_one(parent, seed=7))
    run_stage_here(run, "stage1")
    take_over(run, run.read_manifest(), current_weights(run.read_manifest()))
    assert not run.receipt_file("refiner").exists()
    assert decisions(run)["refiner"][0] == "run"


def test_other_video_settings_run_the_decode_alone(parent: RunDirectory) -> None:
    run = settle(write_one(parent, overlay=True))
    assert {stage: action for stage, (action, _) in decisions(run).items()} == {
        "stage1": "skip",
        "preview": "off",
        "refiner": "skip",
        "vae_decode": "run",
    }


def test_a_run_that_was_stopped_after_a_look_gives_what_it_has(parent: RunDirectory) -> None:
    for stage in ("refiner", "vae_decode"):
        parent.clear_stage(stage)
    run = settle(write_one(parent, refiner_seed=7))
    assert decisions(run)["stage1"][0] == "skip"
    assert "refiner text" in decisions(run)["refiner"][1]


@pytest.mark.parametrize("harm", ["a bit of the latents", "the receipt", "everything"])
def test_what_is_not_whole_there_is_made_here(harm: str, parent: RunDirectory) -> None:
    manifest = write_one(parent, refiner_seed=7)
    if harm == "everything":
        shutil.rmtree(parent.path)
    else:
        path = parent.stage1_file if harm == "a bit of the latents" else parent.receipt_file("stage1")
        path.write_bytes(path.read_bytes()[:-2] + b"~\n")
    run = settle(manifest)
    assert not run.receipt_file("stage1").exists()
    action, reason = decisions(run)["stage1"]
    assert action == "run"
    wanted = {"a bit of the latents": "SHA-256", "the receipt": "damaged", "everything": "not there"}
    assert wanted[harm] in reason


def test_where_no_second_name_can_be_given_the_file_is_copied(
    parent: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    run = settle(write_one(parent, refiner_seed=7))
    assert run.stage1_file.read_bytes() == parent.stage1_file.read_bytes()
    assert run.stage1_file.stat().st_ino != parent.stage1_file.stat().st_ino
    assert decisions(run)["stage1"][0] == "skip"


def test_a_start_that_was_killed_while_it_took_over_takes_over_again(parent: RunDirectory) -> None:
    run = settle(write_one(parent, refiner_seed=7))
    run.receipt_file("stage1").unlink()  # it is written last
    assert decisions(run)["stage1"] == ("skip", f"the same as in {parent.path}: taken from there")
    take_over(run, run.read_manifest(), current_weights(run.read_manifest()))
    assert decisions(run)["stage1"][0] == "skip"
    take_over(run, run.read_manifest(), current_weights(run.read_manifest()), start_from="stage1")
    assert decide(run, run.read_manifest(), current_weights(run.read_manifest()), "stage1")[0].action == "run"


@pytest.mark.parametrize("number", [0, 12, 23])
def test_a_frame_is_decoded_to_the_bits_that_the_video_was_encoded_from(number: int, made: RunDirectory) -> None:
    manifest = made.read_manifest()
    assert manifest.dropped_frames == 1
    assert np.array_equal(decode_frame(made, 1 + number), shown(made, number))
    assert parse_frame(f"{number / 16:g}s", manifest) == parse_frame(str(number), manifest) == number


def shown(run: RunDirectory, number: int) -> np.ndarray[Any, Any]:
    """A frame that the decode wrote beside its video."""
    return np.asarray(Image.open(Path(str(run.read_manifest().video.frames_dir)) / f"{number:05d}.png"))


def test_a_branch_begins_with_its_frame_and_keeps_the_lens(
    parent: RunDirectory, edit_run_manifest: Callable[..., None], tmp_path: Path
) -> None:
    """The picture, gone by now, was scaled by 0.8 and lost 16 columns on either side; at frame 13 it had zoomed."""
    edit_run_manifest(parent.path, input__image=str(tmp_path / "gone.png"))
    taken, before = take_names(parent), contents(parent.path)
    new = write_branch(find_parent(parent.path), "13", VideoRequest(action="w-8"), {})
    assert new.path.name == "first-5"
    assert [path.read_text() for path in taken] == ["mine"] * 3
    assert contents(parent.path) == before
    pixels = np.asarray(Image.open(frame_beside(new.path)))
    assert np.array_equal(pixels, shown(parent, 13))
    run = settle(new.manifest_path)
    manifest = run.read_manifest()
    focal_px = 0.8 * np.linspace(160.0, 200.0, FRAMES)[14]
    lens = load_intrinsics(manifest, load_camera_path(manifest), 9, (WIDTH, HEIGHT))
    assert np.allclose(lens, [focal_px, focal_px, 0.8 * 100 - 16, 0.8 * 60], rtol=1e-6)
    assert (manifest.video.num_frames, manifest.camera.action) == (9, "w-8")
    assert "prompt embeddings" in decisions(run)["stage1"][1]
    run_stage_here(run, "stage1")
    assert phases(run, "stage1") == ["vae_encoder", "transformer"]
    assert torch.equal(load_tensors(run.conditioning_file, {})["first_latent"], first_latent(parent, pixels))
    made_from = manifest.made_from
    assert made_from is not None
    assert (made_from.verb, made_from.frame, made_from.run) == ("branch", 13, str(parent.path))


def first_latent(run: RunDirectory, pixels: np.ndarray[Any, Any]) -> torch.Tensor:
    """A picture of the video's size as the VAE encodes it."""
    vae = load_vae(locate_weights(run.read_manifest()), torch.device("cpu"), torch.float32, part="encoder")
    samples = torch.from_numpy(pixels.astype(np.float32) / 255.0 * 2.0 - 1.0).permute(2, 0, 1)[None]
    with torch.inference_mode():
        return encode_first_frame(vae, samples).float()


def test_promotion_keeps_picture_path_length_and_seed(parent: RunDirectory, sana_wm: Command) -> None:
    code, said, _ = sana_wm("promote", parent.path, "--preset", "author-defaults", "--dry-run")
    assert code == 0
    assert "stage1.num_inference_steps: 2 -> 60" in said
    assert list(parent.path.parent.iterdir()) == [parent.path], "a dry run leaves nothing"
    (new,) = write_variations(find_parent(parent.path), "promote", VideoRequest(preset="standard"), {})
    before, after = parent.read_manifest(), settle(new.manifest_path).read_manifest()
    assert (after.input, after.video.num_frames, after.stage1.seed) == (before.input, FRAMES, before.stage1.seed)
    assert after.camera == before.camera
    assert after.stage1.num_inference_steps == 40
    assert after.made_from is not None
    assert after.made_from.verb == "promote"


def test_several_seeds_make_a_run_each(parent: RunDirectory, sana_wm: Command) -> None:
    _, said, _ = sana_wm("vary", parent.path, "--seed", "1", "2", "3", "--prompt", "4", "--dry-run")
    assert [f"42 -> {seed}" in said for seed in (1, 2, 3, 4)] == [True, True, True, False]
    _, said, _ = sana_wm("vary", "--seeds", 2, parent.path, "--dry-run")
    assert [f"42 -> {seed}" in said for seed in (42, 43, 44, 45)] == [False, True, True, False]


def test_a_video_leads_back_to_its_run_wherever_both_lie(parent: RunDirectory, tmp_path: Path) -> None:
    assert find_parent(parent.video_file).path == parent.path  # it says that it was made elsewhere
    shutil.move(parent.video_file, tmp_path / "shared.mp4")
    elsewhere = find_parent(tmp_path / "shared.mp4")
    assert elsewhere.manifest_sha256 == sha256_of(parent.manifest_file)
    assert elsewhere.path != parent.path


@pytest.mark.parametrize(
    ("command", "expected", "code"),
    [
        (["vary", "PARENT", "--seed", "42"], "nothing would be other", 2),
        (["vary", "PARENT", "--seed", "1", "2", "--out", "x"], "--out names one run", 2),
        (["vary", "PARENT", "--seed", "1", "--seeds", "2"], "exclude each other", 2),
        (["vary", "PARENT", "--seed", "1", "--out", "PARENT"], "is there already", 2),
        (["promote", "PARENT", "--out", "PARENT"], "is there already", 2),
        (["promote", "PARENT", "--preset", "nice"], "--preset names none", 2),
        (["branch", "PARENT@0", "--action", "w-8", "--out", "PARENT"], "is there already", 2),
        (["branch", "PARENT@24", "--action", "w-8"], "0 to 23", 2),
        (["branch", "PARENT@-1", "--action", "w-8"], "0 to 23", 2),
        (["branch", "PARENT@half", "--action", "w-8"], "0 to 23", 2),
        (["branch", "PARENT@0.01s", "--action", "w-8"], "0 to 23", 2),
        (["branch", "PARENT", "--action", "w-8"], "no frame is named", 2),
        (["branch", "PARENT@3"], "where the camera goes", 2),
        (["branch", "PARENT@3", "--action", "w-3"], "", 2),
        (["vary", "NOWHERE"], "NOWHERE", 4),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    command: list[str], expected: str, code: int, parent: RunDirectory, sana_wm: Command, tmp_path: Path
) -> None:
    before = contents(tmp_path)
    given = [one.replace("PARENT", str(parent.path)).replace("NOWHERE", str(tmp_path / "NOWHERE")) for one in command]
    found, _, said = sana_wm(*given)
    assert found == code, said
    assert expected in said
    assert contents(tmp_path) == before


def test_a_branch_needs_a_finished_and_whole_run(parent: RunDirectory, sana_wm: Command) -> None:
    parent.refined_file.write_bytes(parent.refined_file.read_bytes()[:-1] + b"~")
    code, _, said = sana_wm("branch", f"{parent.path}@3", "--action", "w-8")
    assert (code, "is not whole" in said) == (4, True)
    parent.receipt_file("vae_decode").unlink()
    code, _, said = sana_wm("branch", f"{parent.path}@3", "--action", "w-8")
    assert (code, "is not finished" in said) == (4, True)
    assert "sana-wm resume" in said


@pytest.mark.long
def test_the_command_that_a_branch_of_a_pruned_run_names_makes_its_latents_again(
    parent: RunDirectory, sana_wm: Command
) -> None:
    """To the bits of before, in real processes: a plain resume would skip all of it."""
    before = contents(parent.path)
    prune_run(parent, latents=True)
    assert {action for action, _ in decisions(parent).values()} == {"skip", "off"}
    branch = ("branch", f"{parent.path}@3", "--action", "w-8", "--dry-run")
    code, _, said = sana_wm(*branch)
    assert (code, "latents/refined.safetensors was pruned" in said) == (4, True)
    command = said.strip().rpartition("mend it with: sana-wm ")[2].rstrip(".").split()
    assert command == ["resume", str(parent.path), "--from", "refiner"]
    done = subprocess.run([sys.executable, "-m", "sana_wm", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = {name: sha256 for name, sha256 in contents(parent.path).items() if name in before}
    results = [name for name in before if name.startswith(("latents/", "video.mp4"))]
    assert [made.get(name) for name in results] == [before[name] for name in results]
    assert [link.name for link in verify(parent) if link.state != "holds"] == []
    assert sana_wm(*branch)[0] == 0


@pytest.mark.parametrize("verb", [["vary", "--seed", "7"], ["promote"]], ids=" ".join)
def test_a_picture_that_changed_begins_no_new_run(
    verb: list[str], parent: RunDirectory, sana_wm: Command, edit_run_manifest: Callable[..., None], tmp_path: Path
) -> None:
    picture = draw_picture(tmp_path / "other.png")
    Image.open(picture).rotate(180).save(picture)
    inputs = json.loads(parent.read_manifest().model_dump_json())["inputs"]
    inputs["input.image"]["path"] = str(picture)
    edit_run_manifest(parent.path, input__image=str(picture), inputs=inputs)
    code, _, said = sana_wm(verb[0], parent.path, *verb[1:], "--dry-run")
    assert (code, "input.image changed" in said) == (4, True), said


def take_names(parent: RunDirectory) -> list[Path]:
    """Put something where new runs would lie."""
    taken = [parent.path.with_name(name) for name in ("first-2", "first-3.json", "first-4-frame.png")]
    for path in taken:
        path.write_text("mine")
    return taken


@pytest.mark.parametrize("verb", ["vary", "promote"])
def test_nothing_that_is_there_is_overwritten(verb: str, parent: RunDirectory) -> None:
    """Nor by a branch, above; and a name that the user says is refused, below."""
    taken, before = take_names(parent), contents(parent.path)
    said = VideoRequest(seed=7) if verb == "vary" else VideoRequest(preset="standard")
    (new,) = write_variations(find_parent(parent.path), verb, said, {})  # pyright: ignore[reportArgumentType]
    assert new.path.name == "first-5"
    assert [path.read_text() for path in taken] == ["mine"] * 3
    assert contents(parent.path) == before
