"""`init-manifest` through the real command line: what it writes must be valid, and a rerun must be the run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import draw_picture

from sana_wm.camera.dialects import action_trajectory
from sana_wm.camera.move_path import resolve_move
from sana_wm.camera.poses.reading import load_poses
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.portable import portable_json
from sana_wm.preflight.prospect import inspect
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.video.encoder import VideoEncoder

Write = Callable[..., Path]
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def init(
    sana_wm: Cli, picture: Path, tmp_path: Path, tiny_models: dict[str, dict[str, Any]]
) -> Callable[..., dict[str, Any]]:
    """Run `init-manifest` on the picture with the tiny checkpoint; returns what it wrote."""
    model = tiny_models["original"]

    def run(*arguments: object, layout: str = "original") -> dict[str, Any]:
        root = ["--model-root", tiny_models[layout]["root"]]
        gemma = ["--gemma-root", model["gemma_root"]] if layout == "original" else []
        out = tmp_path / "manifest.json"
        code, _, err = sana_wm("init-manifest", picture, *root, *gemma, "-o", out, "--force", *arguments)
        assert code == 0, err
        code, _, err = sana_wm("validate-manifest", out)
        assert code == 0, err
        return json.loads(out.read_text()) | {"said": err}

    return run


@pytest.mark.parametrize(
    ("preset", "steps", "guidance_until", "refines"),
    [
        ("draft", 4, 1.0, False),
        ("fast", 40, 0.5, True),
        ("standard", 40, 1.0, True),
        ("author-defaults", 60, 1.0, True),
    ],
)
def test_a_picture_and_a_prompt_are_enough(
    init: Callable[..., dict[str, Any]], preset: str, steps: int, guidance_until: float, refines: bool
) -> None:
    data = init("--prompt", "A road.", "--fov-deg", "90", "--preset", preset)
    assert data["$schema"].endswith("manifest.schema.json")
    assert data["video"]["num_frames"] == 81
    assert (data["stage1"]["num_inference_steps"], data["stage1"]["guidance_until"]) == (steps, guidance_until)
    assert data["refiner"]["enabled"] == refines
    assert data["camera"]["action"] == "w-80"
    assert data["camera"]["intrinsics"] == pytest.approx([100, 100, 100, 60]), "of a picture of 200x120"
    assert data["input"]["image"] == "picture.png", "relative to the manifest"


@pytest.mark.parametrize(
    ("preset", "refines", "noise"),
    [("draft", False, "chunk"), ("standard", True, "chunk"), ("author-defaults", True, "clip")],
)
def test_a_preset_of_the_streaming_model_is_what_that_model_takes(
    sana_wm: Cli, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str, refines: bool, noise: str
) -> None:
    for name in ("SANA_WM_STREAMING_ROOT", "SANA_GEMMA_2_2B_IT_ROOT"):
        monkeypatch.setenv(name, str(tmp_path))
    out = tmp_path / "manifest.json"
    described = ("--prompt", "A road.", "--fov-deg", "90", "--preset", preset, "--variant", "streaming")
    code, _, err = sana_wm("init-manifest", picture, *described, "-o", out)
    assert code == 0, err
    manifest = load_manifest(out, os.environ)
    assert (manifest.model.variant, manifest.video.num_frames) == ("streaming", 97)
    assert (manifest.stage1.num_inference_steps, manifest.stage1.guidance_scale) == (4, 1.0)
    assert (manifest.refiner.enabled, manifest.stage1.chunk_noise) == (refines, noise)
    code, _, err = sana_wm("init-manifest", picture, *described, "--action", "w-40", "-o", out, "--force")
    assert (code, "Lengthen the path" in err, "48 or more" in err) == (2, True, True), err


@pytest.mark.parametrize(("action", "num_frames"), [("w-8", 9), ("w-20", 17), ("w-24", 25), ("w-80,jw-240", 321)])
@pytest.mark.parametrize("preset", ["draft", "standard"])
def test_the_length_is_what_the_path_gives(
    init: Callable[..., dict[str, Any]], action: str, num_frames: int, preset: str
) -> None:
    data = init("--prompt", "A road.", "--fov-deg", "90", "--action", action, "--preset", preset)
    assert data["video"]["num_frames"] == num_frames


def test_moves_become_an_action_where_keys_do_the_same(init: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    data = init("--prompt", "A road.", "--fov-deg", "90", "--move", "push-in:1s@0.5,pan-left:8f@0.5")
    camera = data["camera"]
    assert (camera["action"], camera["dialect"]) == ("w-16,j-8", "pr379")
    assert (camera["translation_speed"], camera["rotation_speed_deg"]) == (0.025, 0.6)
    assert data["video"]["num_frames"] == 25
    assert not list(tmp_path.glob("*.npy"))


def test_moves_that_no_keys_do_become_poses_that_replace_nothing(
    init: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "picture-camera.npy").write_bytes(b"of somebody else")
    for _ in range(2):
        data = init("--prompt", "A road.", "--fov-deg", "90", "--move", "crane-up:1s,orbit-left:8f")
        assert data["camera"]["poses"] == "picture-camera-2.npy", "relative, and the second time the same"
    way = load_poses(tmp_path / "picture-camera-2.npy").c2w
    np.testing.assert_allclose(way, resolve_move("crane-up:1s,orbit-left:8f").trajectory.c2w, rtol=0, atol=1e-6)
    assert (tmp_path / "picture-camera.npy").read_bytes() == b"of somebody else"


def test_poses_layout_and_intrinsics_are_taken_as_they_are(init: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    np.save(tmp_path / "inputs" / "poses.npy", action_trajectory("w-16").c2w)
    (tmp_path / "prompt.txt").write_text("A road.")
    data = init(
        *("--prompt-file", tmp_path / "prompt.txt", "--intrinsics", "160,161,100,60"),
        *("--poses", tmp_path / "inputs" / "poses.npy"),
        layout="diffusers",
    )
    assert data["model"]["layout"] == "diffusers"
    assert data["camera"] == {"poses": "inputs/poses.npy", "intrinsics": [160, 161, 100, 60]}
    assert (data["input"]["prompt_file"], data["video"]["num_frames"]) == ("prompt.txt", 17)


def test_roots_are_named_by_variable_and_unset_ones_are_said(
    sana_wm: Cli, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights" / "dit").mkdir(parents=True)
    monkeypatch.setenv("SANA_WM_MODEL_ROOT", str(tmp_path / "weights"))
    monkeypatch.delenv("SANA_GEMMA_2_2B_IT_ROOT", raising=False)
    out = tmp_path / "m.json"
    code, _, err = sana_wm("init-manifest", picture, "--prompt", "costs ${5}", "--fov-deg", "60", "-o", out)
    assert code == 0
    model = json.loads(out.read_text())["model"]
    assert model["root"] == "${SANA_WM_MODEL_ROOT}"
    assert "SANA_GEMMA_2_2B_IT_ROOT is not set" in err
    assert "SANA_WM_MODEL_ROOT is not set" not in err
    manifest = load_manifest(out, {"SANA_WM_MODEL_ROOT": "/weights", "SANA_GEMMA_2_2B_IT_ROOT": "/gemma"})
    assert manifest.input.prompt == "costs ${5}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prompt", "p"), "the picture's field of view is not known; got the picture holds no EXIF data"),
        (("--fov-deg", "70"), "no prompt is given"),
        (("--prompt", " ", "--fov-deg", "70"), "no prompt is given"),
        (("--prompt", "p", "--prompt-file", "f", "--fov-deg", "70"), "exclude each other"),
        (("--prompt", "p", "--fov-deg", "70", "--action", ""), "the action string is empty"),
        (("--prompt", "p", "--fov-deg", "70", "--action", "w-7"), "the camera path is too short"),
        (("--prompt", "p", "--fov-deg", "70", "--action", "w-8", "--poses", "p.npy"), "exclude each other"),
        (("--prompt", "p", "--fov-deg", "70", "--preset", "quick"), "--preset names none; got 'quick'"),
        (
            ("--prompt", "p", "--fov-deg", "70", "--preset", "fast", "--variant", "streaming"),
            "there is no preset fast of the streaming model: its steps and guidance are what it was taught; "
            "expected draft, standard, author-defaults",
        ),
        (("--prompt", "p", "--intrinsics", "1,2,3"), "expected fx,fy,cx,cy or a .npy file"),
        (("--prompt", "p", "--fov-deg", "70", "--move", "hold", "--poses", "p.npy"), "--move and --poses exclude"),
        (("--prompt", "p", "--move", "hold", "--dialect", "pr379"), "--move and --dialect exclude each other"),
        (("--prompt", "p", "--fov-deg", "70", "--move", "pan:1s"), "names no move"),
        (("--prompt", "p", "--template", "preview_25f"), "--template and what is said of a video exclude each other"),
        (("--prompt", "p", "--fov-deg", "70", "--seconds", "1.3"), "expected 1 s (17 frames) or 1.5 s (25 frames)"),
        (("--prompt", "p", "--fov-deg", "70", "--seconds", "2", "--action", "w-24"), "way is shorter than --seconds"),
    ],
)
def test_bad_usage_is_refused_and_nothing_is_written(
    sana_wm: Cli, picture: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "m.json"
    code, _, err = sana_wm("init-manifest", picture, *arguments, "-o", out)
    assert code == 2
    assert said in err
    assert not out.exists()


def test_a_manifest_that_is_there_stays(sana_wm: Cli, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.json"
    out.write_text("mine")
    code, _, err = sana_wm("init-manifest", picture, "--prompt", "p", "--fov-deg", "70", "-o", out)
    assert (code, out.read_text()) == (2, "mine")
    assert "add --force" in err


@pytest.fixture
def earlier_run(write_manifest: Write) -> RunDirectory:
    """A run directory with its manifest, and the video that this run would leave."""
    manifest = inspect(write_manifest(input__prompt="costs $${5}\nand more"), {}).require()[1]
    run = RunDirectory(Path(manifest.output_dir))
    run.path.mkdir()
    run.write_manifest(manifest)
    text = portable_json(manifest, Path.home())
    assert text is not None
    with VideoEncoder(run.video_file, width=64, height=32, fps=16, metadata={"manifest": text}) as encoder:
        encoder.put(np.zeros((2, 32, 64, 3), dtype=np.uint8))
    return run


@pytest.mark.parametrize("source", ["run", "video"])
def test_a_rerun_resolves_to_the_manifest_that_made_it(
    sana_wm: Cli, earlier_run: RunDirectory, tmp_path: Path, source: str
) -> None:
    out = tmp_path / "again.json"
    path = earlier_run.path if source == "run" else earlier_run.video_file
    code, _, err = sana_wm("init-manifest", "--like", path, "-o", out)
    assert (code, err) == (0, "")
    assert inspect(out, {}).require()[1] == earlier_run.read_manifest()


def test_inputs_that_changed_since_are_named(
    sana_wm: Cli, earlier_run: RunDirectory, picture: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved.png"
    moved.write_bytes(picture.read_bytes())
    picture.write_bytes(picture.read_bytes() + b"x")
    arguments = ("--like", earlier_run.video_file, "-o", tmp_path / "again.json", "--force")
    assert f"input.image: {picture} is not the file that the run used" in sana_wm("init-manifest", *arguments)[2]
    assert sana_wm("init-manifest", moved, *arguments)[2] == ""
    assert json.loads((tmp_path / "again.json").read_text())["input"]["image"] == "moved.png"
    picture.unlink()
    assert f"input.image: {picture} is not there" in sana_wm("init-manifest", *arguments)[2]


def test_another_picture_brings_its_own_view(sana_wm: Cli, earlier_run: RunDirectory, tmp_path: Path) -> None:
    other = draw_picture(tmp_path / "other.png")
    other.write_bytes(other.read_bytes() + b"x")
    out = tmp_path / "again.json"
    command = ("init-manifest", other, "--like", earlier_run.video_file, "-o", out, "--force")
    code, _, err = sana_wm(*command)
    assert code == 2
    assert "the picture's field of view is not known" in err
    assert not out.exists()
    assert sana_wm(*command, "--fov-deg", "90")[0] == 0
    assert json.loads(out.read_text())["camera"]["intrinsics"] == pytest.approx([100, 100, 100, 60])


def test_another_picture_in_a_folder_that_looks_like_a_variable(
    sana_wm: Cli, earlier_run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "${HOME}"
    folder.mkdir()
    other = draw_picture(folder / "other.png")
    other.write_bytes(other.read_bytes() + b"x")
    out = tmp_path / "again.json"
    command = ("init-manifest", other, "--like", earlier_run.video_file, "-o", out, "--force")
    assert sana_wm(*command, "--fov-deg", "90")[0] == 0
    assert load_manifest(out, {}).input.image == str(other)
    monkeypatch.setenv("SANA_DEPTH_PRO_ROOT", "/weights/depth-pro")
    code, _, err = sana_wm(*command)
    assert code == 0
    assert "Depth Pro will estimate the focal length" in err
    assert load_manifest(out, dict(os.environ)).model.depth_pro_root == "/weights/depth-pro"


def test_what_is_said_wins_over_what_made_the_video(sana_wm: Cli, earlier_run: RunDirectory, tmp_path: Path) -> None:
    out = tmp_path / "again.json"
    said = ("--prompt", "A river.", "--seed", "7", "--refiner-seed", "8", "--no-refine", "--action", "jw-30")
    command = ("init-manifest", "--like", earlier_run.path, "-o", out, "--force", "--output-dir", tmp_path / "new")
    code, _, err = sana_wm(*command, *said)
    assert (code, "first 25 of the camera path's 31 poses" in err) == (0, True), err
    new, old = inspect(out, {}).require()[1], earlier_run.read_manifest()
    assert (new.input.prompt, new.stage1.seed, new.refiner.seed, new.refiner.enabled) == ("A river.", 7, 8, False)
    assert (new.camera.action, new.video.num_frames) == ("jw-30", 25)
    assert (new.camera.intrinsics, new.stage1.guidance_scale) == (old.camera.intrinsics, old.stage1.guidance_scale)
    assert sana_wm(*command, "--preset", "standard")[0] == 0
    standard = inspect(out, {}).require()[1]
    assert (standard.stage1.num_inference_steps, standard.stage1.seed) == (40, old.stage1.seed)
    assert (standard.camera, standard.video) == (old.camera, old.video)
    assert "way is shorter than --seconds" in sana_wm(*command, "--seconds", "8")[2]
    assert "expected --seconds 3 or --seconds 4.5" in sana_wm(*command, "--variant", "streaming")[2]


def test_moves_take_the_place_of_the_way_that_made_a_video(
    sana_wm: Cli, earlier_run: RunDirectory, tmp_path: Path
) -> None:
    out = tmp_path / "again.json"
    command = ("init-manifest", "--like", earlier_run.path, "-o", out, "--force", "--output-dir", tmp_path / "new")
    for move, poses in (("crane-up", str(tmp_path / "new-camera.npy")), ("hold", None)):
        code, _, err = sana_wm(*command, "--move", move)
        assert code == 0, err
        manifest = load_manifest(out, os.environ)
        length = earlier_run.read_manifest().video.num_frames
        assert manifest.video.num_frames == length, "a move without a time takes the length so far"
        assert manifest.camera.action == (None if poses else f"none-{length - 1}")
        assert manifest.camera.poses == poses


def test_a_video_of_another_program_is_refused(sana_wm: Cli, tmp_path: Path) -> None:
    path = tmp_path / "other.mp4"
    with VideoEncoder(path, width=64, height=32, fps=16) as encoder:
        encoder.put(np.zeros((2, 32, 64, 3), dtype=np.uint8))
    code, _, err = sana_wm("init-manifest", "--like", path, "-o", tmp_path / "m.json")
    assert code == 2
    assert "carries no manifest" in err
    assert sana_wm("init-manifest", "--like", tmp_path / "nowhere.mp4", "-o", tmp_path / "m.json")[0] == 4


def test_a_run_directory_is_where_the_user_stands_not_where_the_manifest_lies(
    sana_wm: Cli, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manifests").mkdir()
    out = tmp_path / "manifests" / "m.json"
    arguments = ("--prompt", "p", "--fov-deg", "70", "--output-dir", "runs/a", "-o", out)
    assert sana_wm("init-manifest", picture, *arguments)[0] == 0
    roots = {"SANA_WM_MODEL_ROOT": "/weights", "SANA_GEMMA_2_2B_IT_ROOT": "/gemma"}
    assert load_manifest(out, roots).output_dir == str(tmp_path / "runs" / "a")


def test_a_template_is_written_as_it_is_shipped(sana_wm: Callable[..., tuple[int, str, str]], tmp_path: Path):
    from sana_wm.manifest.templates import template_text

    out = tmp_path / "mine.json"
    code, _, said = sana_wm("init-manifest", "--template", "preview_25f", "-o", out)
    assert code == 0
    assert out.read_text() == template_text("preview_25f")
    assert "SANA_WM_INPUT_ROOT is not set" in said


def test_the_list_of_templates_names_each(sana_wm: Callable[..., tuple[int, str, str]]):
    from sana_wm.manifest.templates import template_names

    code, listed, _ = sana_wm("init-manifest", "--list-templates")
    assert code == 0
    assert [line.split()[0] for line in listed.split("\n\n")[0].splitlines()] == template_names()


@pytest.mark.parametrize("others", [["--template", "no_such"], ["--template", "preview_25f", "--prompt", "A road."]])
def test_a_template_of_another_name_or_with_a_picture_s_options_is_refused(
    sana_wm: Callable[..., tuple[int, str, str]], others: list[str]
):
    code, _, said = sana_wm("init-manifest", *others)
    assert code == 2
    assert "preview_25f" in said or "exclude each other" in said
