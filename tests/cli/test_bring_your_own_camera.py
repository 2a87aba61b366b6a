"""Cameras of other tools through the real command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tests.camera.poses.writers import write_colmap, write_realestate10k

from sana_wm.camera.dialects import action_trajectory
from sana_wm.preflight.prospect import inspect
from sana_wm.runs.receipts import changed_fields, settings_digest, stage_settings

Write = Callable[..., Path]
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def write_poses_manifest(write_manifest: Write) -> Write:
    def write(poses: Path, **changes: Any) -> Path:
        camera = {"poses": str(poses), "intrinsics": [160.0, 160.0, 100.0, 60.0]}
        return write_manifest(**{"camera": camera, **changes})

    return write


def camera_warnings(err: str) -> list[str]:
    return [line.removeprefix("warning: ") for line in err.splitlines() if line.startswith("warning: camera.")]


def test_one_walk_is_explained_and_drawn_alike_in_every_world(
    write_poses_manifest: Write, sana_wm: Cli, shared_inputs: Path
) -> None:
    for flags in ((), ("--json",)):
        said = {
            sana_wm(
                "camera",
                "explain",
                write_poses_manifest(shared_inputs / f"walk_turn_right_{name}.npy", video__num_frames=41),
                *flags,
            )
            for name in ("opencv", "zup_world", "utm")
        }
        assert len(said) == 1
        assert "48.0 degrees right" in said.pop()[1] or flags


@pytest.mark.parametrize(
    ("name", "num_frames", "words"),
    [
        ("walk_turn_right_opencv.npy", 41, []),
        ("walk_turn_right_utm.npy", 41, []),
        ("walk_turn_right_as_w2c.npy", 41, ["poses_convention"]),
        ("walk_turn_right_opengl.npy", 41, ["opengl_c2w"]),
        ("walk_in_millimetres.npy", 41, ["millimetres"]),
        ("arkit_last_row_1.0000001.npy", 9, ["re-orthonormalised"]),
        ("realestate10k.txt", 9, ["3.58 poses a second"]),
        ("realestate10k_3x4.npy", 9, ["opencv_w2c"]),
        ("transforms.json", 41, []),
        ("transforms.json", 9, ["the last 32 go unused"]),
    ],
)
def test_poses_are_taken_with_a_word_where_one_is_due(
    write_poses_manifest: Write, sana_wm: Cli, shared_inputs: Path, name: str, num_frames: int, words: list[str]
) -> None:
    code, _, err = sana_wm(
        "validate-manifest", write_poses_manifest(shared_inputs / name, video__num_frames=num_frames)
    )
    assert code == 0, err
    warnings = camera_warnings(err)
    assert len(warnings) == len(words)
    assert all(word in warning for word, warning in zip(words, warnings, strict=True))


@pytest.mark.parametrize(
    ("name", "code", "word"),
    [
        ("half_res", 0, "of a picture of 844x464: multiply all four by 2."),
        ("cxcy_corner", 0, "a principal point at 0, 0"),
        ("cx_outside", 2, "the principal point lies outside the input image"),
        ("aniso", 0, "fx / fy is 0.332"),
        ("perframe_jump", 0, "fx jumps from 797.88 in row 4 to 2393.64 in row 5"),
        ("norm01", 2, "intrinsics are normalised, not in pixels"),
        ("k44", 0, ""),
    ],
)
def test_intrinsics_are_looked_at_in_every_row(
    write_manifest: Write, sana_wm: Cli, shared_inputs: Path, tmp_path: Path, name: str, code: int, word: str
) -> None:
    Image.new("RGB", (1691, 930), (90, 120, 60)).save(tmp_path / "wide.png")
    path = write_manifest(
        input__image=str(tmp_path / "wide.png"),
        camera__action="w-8",
        camera__intrinsics=str(shared_inputs / f"intrinsics_{name}.npy"),
    )
    got, _, err = sana_wm("validate-manifest", path)
    assert got == code
    assert word in err
    if not word:
        assert camera_warnings(err) == []


def test_frame_rate_and_cancelling_keys_are_warned_of(write_manifest: Write, sana_wm: Cli) -> None:
    code, _, err = sana_wm("validate-manifest", write_manifest(camera__action="ws-8", video__fps=24))
    assert code == 0
    assert "warning: video.fps: the model was trained at 16 frames a second" in err
    assert "warning: camera.action: segment 1, ws-8: w and s cancel each other" in err
    assert "segment 1, ad-8: a and d cancel" in sana_wm("camera", "explain", "--action", "ad-8")[2]


def test_intrinsics_are_the_poses_files_where_none_are_given(
    write_poses_manifest: Write, sana_wm: Cli, tmp_path: Path
) -> None:
    write_realestate10k(action_trajectory("w-8").c2w.astype(np.float64), tmp_path / "walk.txt")
    path = write_poses_manifest(tmp_path / "walk.txt", camera__intrinsics=...)
    code, _, err = sana_wm("validate-manifest", path)
    assert code == 0, err
    assert camera_warnings(err)[0].startswith("camera.intrinsics: taken from the poses file: fx 140.625, fy 150.833")
    assert "(from the poses file)" in sana_wm("camera", "explain", path)[1]
    np.save(tmp_path / "walk.npy", action_trajectory("w-8").c2w)
    code, _, err = sana_wm("validate-manifest", write_poses_manifest(tmp_path / "walk.npy", camera__intrinsics=None))
    assert code == 2
    assert "camera.intrinsics is missing, and the poses file holds none" in err


def test_a_new_manifest_leaves_intrinsics_to_the_poses_file_that_has_them(
    sana_wm: Cli, picture: Path, tmp_path: Path
) -> None:
    write_realestate10k(action_trajectory("w-8").c2w.astype(np.float64), tmp_path / "walk.txt")
    arguments = ("init-manifest", picture, "--prompt", "p", "--poses", tmp_path / "walk.txt", "-o", tmp_path / "m.json")
    code, out, err = sana_wm(*arguments)
    assert code == 0, err
    assert "the intrinsics will be those in the poses file" in out + err
    assert json.loads((tmp_path / "m.json").read_text())["camera"] == {"poses": "walk.txt", "intrinsics": None}


@pytest.mark.parametrize(
    ("camera", "said"),
    [
        ({"action": "w-8"}, "intrinsics is missing: only a poses file can hold them"),
        ({"action": "w-8", "intrinsics": [1, 1, 1, 1], "poses_fps": 8}, "belong to poses"),
        ({"poses": "p.npy", "poses_fps": 0, "intrinsics": [1, 1, 1, 1]}, "camera.poses_fps: Input should be greater"),
        ({"poses": "p.npy", "poses_convention": "c2w", "intrinsics": [1, 1, 1, 1]}, "camera.poses_convention: Input"),
    ],
)
def test_camera_fields_that_do_not_go_together(
    write_manifest: Write, sana_wm: Cli, camera: dict[str, Any], said: str
) -> None:
    code, _, err = sana_wm("validate-manifest", write_manifest(camera=camera))
    assert code == 2
    assert said in err


@pytest.fixture
def write_colmap_manifest(write_poses_manifest: Write, tmp_path: Path) -> Write:
    (tmp_path / "sparse").mkdir()
    images = tmp_path / "sparse" / "images.txt"
    write_colmap(action_trajectory("wl-16", translation_speed=0.025).c2w.astype(np.float64), images)
    Image.new("RGB", (320, 180), (90, 120, 60)).save(tmp_path / "wide.png")
    changes = {"input__image": str(tmp_path / "wide.png"), "camera__intrinsics": ..., "camera__poses_fps": 32}
    return lambda **others: write_poses_manifest(images, **changes, **others)


def test_what_is_made_depends_on_both_of_colmaps_files_and_on_the_rate(
    write_colmap_manifest: Write, tmp_path: Path
) -> None:
    before = inspect(write_colmap_manifest(), {}).require()[1]
    assert set(before.inputs) == {"input.image", "camera.poses", "camera.poses.cameras"}
    assert stage_settings(before, "stage1")["video.fps"] == 16
    cameras = tmp_path / "sparse" / "cameras.txt"
    cameras.write_text(cameras.read_text().replace("900.0", "700.0"))
    after = inspect(write_colmap_manifest(), {}).require()[1]
    changes = changed_fields(stage_settings(before, "stage1"), stage_settings(after, "stage1"))
    assert [change.partition(":")[0] for change in changes] == ["sha256 of camera.poses.cameras"]


def test_the_new_fields_change_nothing_of_what_was_made_before_them(write_manifest: Write) -> None:
    manifest = inspect(write_manifest(), {}).require()[1]
    settings = stage_settings(manifest, "stage1")
    assert "video.fps" not in settings
    then = {name: value for name, value in settings.items() if not name.startswith("camera.poses_")}
    assert settings_digest(then) == settings_digest(settings)


@pytest.mark.long
def test_a_run_takes_path_and_intrinsics_from_a_colmap_model(write_colmap_manifest: Write, tmp_path: Path) -> None:
    sanity = {"latent_std_min": 0, "constant_std": 0, "black_mean": 0, "laplacian_share": 0, "saturated_share": 1}
    path = write_colmap_manifest(refiner__enabled=False, output_dir=str(tmp_path / "run"), sanity=sanity)
    command = [sys.executable, "-m", "sana_wm", "run-pipeline", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    conditioning = load_file(next((tmp_path / "run").rglob("conditioning*.safetensors")))
    # Of the file, scaled from 1280x720 to 320x180, to 171x96, cut to 160x96, and divided by 32.
    np.testing.assert_allclose(conditioning["raymap"][-1, 16:], [3.7573, 3.7708, 2.5490, 1.4833], atol=1e-4)
