"""A portrait video of the top of an upright picture, from its manifest to its video, and runs made from it.

One run for all tests. Stages run in this process.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import tiny_manifest
from tests.pipeline.extending import draft
from tests.pipeline.streaming_runs import run_here, run_stage_here, tiny_student, write_streaming_manifest

from sana_wm.drafting.branching import write_branch
from sana_wm.drafting.lineage import find_parent
from sana_wm.drafting.request import VideoRequest
from sana_wm.drafting.variation import write_variations
from sana_wm.errors import HandoffError
from sana_wm.manifest.loading import load_manifest
from sana_wm.preflight.checks import current_weights, list_warnings
from sana_wm.report.facts import gather_run_facts
from sana_wm.report.page import write_report
from sana_wm.report.timeline import read_timeline
from sana_wm.runs.inheritance import take_over
from sana_wm.runs.metrics import write_metrics
from sana_wm.runs.prepare import prepare
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify
from sana_wm.runtime.latents import load_tensors
from sana_wm.video.reader import probe, read_frames

#: Of the picture and of the video: upright, and of other proportions.
PICTURE_WIDTH, PICTURE_HEIGHT, WIDTH, HEIGHT = 120, 300, 96, 160
FOCAL_PX = 130.0


def draw_upright(path: Path) -> Path:
    """An upright picture whose thirds have colours of their own, and some structure."""
    rows, columns = np.mgrid[:PICTURE_HEIGHT, :PICTURE_WIDTH]
    third = rows * 3 // PICTURE_HEIGHT
    pixels = np.stack([np.where(third == colour, 180, 40) + 30 * np.sin(columns / 7) for colour in range(3)], axis=-1)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, dict[str, Any]]) -> RunDirectory:
    folder = tmp_path_factory.mktemp("portrait")
    data = tiny_manifest(draw_upright(folder / "picture.png"), tiny_models["diffusers"])
    data["input"]["crop"] = "top"
    data["camera"]["intrinsics"] = [FOCAL_PX, FOCAL_PX, PICTURE_WIDTH / 2, PICTURE_HEIGHT / 2]
    data["video"] = {"num_frames": 9, "width": WIDTH, "height": HEIGHT, "overlay": True}
    data["preview"] = {"enabled": True}
    data["stage1"] |= {"preview_every": 1}
    data["output_dir"] = str(folder / "runs" / "first")
    (folder / "manifest.json").write_text(json.dumps(data))
    run = run_here(folder / "manifest.json")
    write_metrics(run, run.read_manifest(), ["stage1", "preview", "refiner", "vae_decode"], 1.0)
    return run


def test_everything_of_it_is_upright(portrait: RunDirectory) -> None:
    assert {link.state for link in verify(portrait)} <= {"holds", "not used"}
    for video, num_frames in ((portrait.video_file, 8), (portrait.preview_file, 9)):
        info = probe(video)
        assert (info.width, info.height, info.num_frames) == (WIDTH, HEIGHT, num_frames)
    assert next(iter(read_frames(portrait.video_file))).shape == (HEIGHT, WIDTH, 3)
    assert load_tensors(portrait.stage1_file, {})["latents"].shape[-2:] == (HEIGHT // 32, WIDTH // 32)
    with Image.open(portrait.step_picture_file(1)) as step:
        assert step.size == (2 * 8 * WIDTH // 32, 8 * HEIGHT // 32)  # two latent frames beside each other
    page = portrait.path.parent / "report.html"
    facts = gather_run_facts(portrait)
    write_report(page, facts, read_timeline(portrait, facts.manifest.memory.cap_bytes), [])
    assert f"{WIDTH}x{HEIGHT}" in page.read_text()


def test_the_rays_are_those_of_the_part_that_is_shown(portrait: RunDirectory) -> None:
    scale = HEIGHT / 200  # 120x200 of the picture's 120x300 fill the video
    expected = np.array([FOCAL_PX, FOCAL_PX, PICTURE_WIDTH / 2, PICTURE_HEIGHT / 2]) * scale / 32
    raymap = load_tensors(portrait.conditioning_file, {})["raymap"].numpy()
    np.testing.assert_allclose(raymap[:, 16:], np.tile(expected, (len(raymap), 1)), rtol=1e-5)
    receipt = read_receipt(portrait, "stage1")
    assert receipt is not None
    assert receipt.settings["input.crop"] == "top"


def test_a_dry_run_says_which_part_it_is_and_how_it_is_drawn(portrait: RunDirectory) -> None:
    manifest = portrait.read_manifest()
    said = " ".join(list_warnings(manifest, manifest))
    assert "input.image: the video shows the top 67% of its 120x300 pixels; --crop centre or --crop bottom" in said
    assert f"sana-wm camera crop {manifest.input.image} --size {WIDTH}x{HEIGHT} -o crop.png" in said
    assert "input.crop: the camera looks at a point 25% of the video's height below its middle" in said
    assert f"the model was trained at 1280x704, not at {WIDTH}x{HEIGHT}" in said


def test_another_part_is_another_run_and_keeps_only_the_text(portrait: RunDirectory, tmp_path: Path) -> None:
    run = RunDirectory(Path(shutil.copytree(portrait.path, tmp_path / "run")))
    other = portrait.read_manifest()
    other = other.model_copy(update={"input": other.input.model_copy(update={"crop": (0.5, 1.0)})})
    with pytest.raises(HandoffError, match=r'input\.crop: "top" -> \[0\.5, 1\.0\]'):
        prepare(run, other, force=False)
    before = load_tensors(portrait.conditioning_file, {})

    (new,) = write_variations(
        find_parent(portrait.path), "vary", VideoRequest(crop=(0.5, 1.0), out=tmp_path / "new"), {}
    )
    assert json.loads(new.manifest_path.read_text())["made_from"]["changed"] == ["input.crop"]
    bottom = run_here(new.manifest_path, ())
    take_over(bottom, bottom.read_manifest(), current_weights(bottom.read_manifest()))
    run_stage_here(bottom, "stage1")
    receipt = read_receipt(bottom, "stage1")
    assert receipt is not None
    assert [phase.name for phase in receipt.phases] == ["vae_encoder", "transformer"]
    after = load_tensors(bottom.conditioning_file, {})
    assert after["prompt_embeds"].equal(before["prompt_embeds"])
    assert not after["first_latent"].equal(before["first_latent"])
    moved_px = (before["raymap"] - after["raymap"])[0, 16:].numpy() * 32
    np.testing.assert_allclose(moved_px, [0, 0, 0, HEIGHT / 2], atol=1e-3)  # 100 of 200 rows further down


def test_a_branch_begins_with_the_whole_of_its_frame(portrait: RunDirectory, tmp_path: Path) -> None:
    new = write_branch(find_parent(portrait.path), "7", VideoRequest(action="w-8", out=tmp_path / "branch"), {})
    manifest = load_manifest(new.manifest_path, {})
    assert manifest.input.crop == "centre"
    with Image.open(manifest.input.image) as frame:
        assert frame.size == (WIDTH, HEIGHT)
    assert manifest.camera.intrinsics == pytest.approx((FOCAL_PX * 0.8, FOCAL_PX * 0.8, 48.0, 120.0))


def test_the_streaming_model_shows_it_too_and_what_goes_on_keeps_it(tmp_path: Path) -> None:
    student = tiny_student(tmp_path / "weights")
    picture = draw_upright(tmp_path / "upright.png")
    changes: dict[str, Any] = {
        "input__image": str(picture),
        "input__crop": "bottom",
        "camera__intrinsics": [FOCAL_PX, FOCAL_PX, PICTURE_WIDTH / 2, PICTURE_HEIGHT / 2],
        "video__width": WIDTH,
        "video__height": HEIGHT,
        "refiner__enabled": False,
    }
    run = run_here(write_streaming_manifest(tmp_path / "streaming", student, 49, **changes))
    raymap = load_tensors(run.conditioning_file, {})["raymap"].numpy()
    np.testing.assert_allclose(raymap[0, 16:] * 32, [FOCAL_PX * 0.8, FOCAL_PX * 0.8, 48.0, 40.0], rtol=1e-5)
    assert probe(run.video_file).height == HEIGHT
    longer = load_manifest(draft(run, tmp_path / "longer", action="w-24"), {})
    assert (longer.input.crop, longer.video.width, longer.video.height) == ("bottom", WIDTH, HEIGHT)
