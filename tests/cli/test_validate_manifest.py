"""Bad input through the real command line: exit code and message of each."""

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
from PIL import Image

from sana_wm.preflight.prospect import inspect

Write = Callable[..., Path]
Cli = Callable[..., tuple[int, str, str]]


def copy_weights(manifest_data: dict[str, Any], tmp_path: Path) -> Path:
    root = tmp_path / "weights"
    shutil.copytree(manifest_data["model"]["root"], root)
    manifest_data["model"] |= {"root": str(root), "gemma_root": str(root / "gemma-2-2b-it")}
    return root


def test_a_good_manifest_is_valid_and_torch_is_not_loaded(write_manifest: Write) -> None:
    script = (
        "import sys; sys.argv = ['sana-wm', 'validate-manifest', sys.argv[1]]\n"
        "from sana_wm.cli import app\n"
        "app(standalone_mode=False)\n"
        "assert 'torch' not in sys.modules and 'diffusers' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(write_manifest())], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "is valid: 9 frames" in done.stdout
    assert "trained at 1280x704, not at 160x96" in done.stderr


def test_the_diffusers_layout_is_valid_too(
    write_manifest: Write, tiny_models: dict[str, dict[str, Any]], sana_wm: Cli
) -> None:
    assert sana_wm("validate-manifest", write_manifest(model=tiny_models["diffusers"]))[0] == 0


def test_show_prints_every_default(write_manifest: Write, sana_wm: Cli) -> None:
    code, out, _ = sana_wm("validate-manifest", write_manifest(), "--show")
    assert code == 0
    assert json.loads(out)["stage1"]["flow_shift"] == 9.8


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"stage1__sed": 1}, 2, "stage1.sed: unknown key; got 1"),
        ({"stage1__seed": "42"}, 2, "stage1.seed: Input should be a valid integer; got str '42'"),
        ({"input__image": "nowhere.png"}, 2, "input.image: no file"),
        ({"input__image": "corrupt.png"}, 2, "cannot be used as the first frame"),
        ({"input__image": "no_picture.png"}, 2, "a whole picture in one of PNG"),
        ({"camera__action": ..., "camera__poses": "nan.npy"}, 2, "camera.poses"),
        ({"camera__action": ..., "camera__poses": "sheared.npy"}, 2, "not orthonormal"),
        ({"camera__action": ..., "camera__poses": "pickled.npy"}, 2, "camera.poses"),
        ({"camera__action": "w-400", "video__num_frames": 320}, 2, "expected 321 or 313"),
        ({"camera__action": "w-7"}, 2, "the camera path is too short"),
        ({"camera__action": "w-20", "video__num_frames": 25}, 2, "num_frames must be 8k + 1"),
        ({"camera__action": "x-9"}, 2, "unknown"),
        ({"camera__intrinsics": "short.npy"}, 2, "camera.intrinsics: too few rows"),
        ({"input__prompt_file": "picture.png"}, 2, "give exactly one of prompt and prompt_file"),
        ({"input__prompt": ""}, 2, "prompt is empty"),
        ({"input__prompt": ..., "input__prompt_file": "empty.txt"}, 2, "is empty"),
        ({"output_dir": "/proc/run"}, 2, "output_dir: /proc/run cannot be written"),
        ({"output_dir": "picture.png/run"}, 2, "Not a directory"),
        ({"model__root": "nowhere"}, 3, "nowhere/dit: the folder of transformer is missing"),
    ],
)
def test_bad_input_is_refused_with_its_code_and_message(
    write_manifest: Write, sana_wm: Cli, tmp_path: Path, changes: dict[str, Any], code: int, said: str
) -> None:
    (tmp_path / "corrupt.png").write_bytes((tmp_path / "picture.png").read_bytes()[:200])
    (tmp_path / "no_picture.png").write_text("hello")
    (tmp_path / "empty.txt").write_text(" \n")
    poses = np.tile(np.eye(4, dtype=np.float32), (9, 1, 1))
    np.save(tmp_path / "nan.npy", np.where(np.arange(9)[:, None, None] == 4, np.nan, poses))
    np.save(tmp_path / "sheared.npy", poses + 0.01)
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "short.npy", np.ones((5, 4)))
    found, _, err = sana_wm("validate-manifest", write_manifest(**changes))
    assert (found, said in err) == (code, True), err


def test_a_missing_shard_is_named(
    write_manifest: Write, manifest_data: dict[str, Any], tmp_path: Path, sana_wm: Cli
) -> None:
    root = copy_weights(manifest_data, tmp_path)
    shard = sorted((root / "refiner" / "transformer").glob("*.safetensors"))[1]
    shard.unlink()
    code, _, err = sana_wm("validate-manifest", write_manifest())
    assert code == 3
    assert shard.name in err
    shutil.rmtree(root / "refiner")
    assert sana_wm("validate-manifest", write_manifest(refiner__enabled=False))[0] == 0


def test_a_truncated_file_is_named(
    write_manifest: Write, manifest_data: dict[str, Any], tmp_path: Path, sana_wm: Cli
) -> None:
    root = copy_weights(manifest_data, tmp_path)
    path = root / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    code, _, err = sana_wm("validate-manifest", write_manifest())
    assert code == 3
    assert str(path) in err


def test_problems_of_inputs_and_weights_come_together_as_json(write_manifest: Write, sana_wm: Cli) -> None:
    path = write_manifest(input__image="nowhere.png", model__root="nowhere", camera__action="x-9")
    code, out, _ = sana_wm("validate-manifest", path, "--json")
    report = json.loads(out)
    assert (code, report["ok"]) == (2, False)
    fields = {problem["field"] for problem in report["problems"]}
    assert {"input.image", "camera.action"} <= fields
    assert len(report["problems"]) > 4
    assert set(report["problems"][0]) == {"field", "what", "got", "expected", "next_step"}


def test_frames_do_not_go_where_other_files_are(write_manifest: Write, sana_wm: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "00003.png").write_text("a picture of mine")
    code, _, err = sana_wm("validate-manifest", write_manifest(video__frames_dir=str(tmp_path / "mine")))
    assert code == 2
    assert "mine is not empty and is not this run's; got 00003.png" in err


def test_a_run_does_not_go_where_other_files_are(write_manifest: Write, sana_wm: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    code, _, err = sana_wm("validate-manifest", write_manifest(output_dir=str(tmp_path / "mine")))
    assert code == 2
    assert "output_dir: " in err
    assert "mine is not empty and is no run directory; got thesis.txt" in err


def test_a_name_that_no_folder_can_have_is_a_problem(write_manifest: Write, sana_wm: Cli) -> None:
    code, _, err = sana_wm("validate-manifest", write_manifest(output_dir="x" * 300))
    assert code == 2
    assert "output_dir: " in err


@pytest.mark.skipif(sys.platform == "darwin", reason="has this device")
def test_a_device_that_cannot_be_here_is_found_without_torch(write_manifest: Write, sana_wm: Cli) -> None:
    code, _, err = sana_wm("validate-manifest", write_manifest(device="mps"))
    assert code == 2
    assert "device: device mps is not available; got no macOS" in err


def test_a_picture_of_which_little_is_shown_is_told(write_manifest: Write, sana_wm: Cli, tmp_path: Path) -> None:
    Image.new("RGB", (60, 300), "teal").save(tmp_path / "tall.png")
    path = write_manifest(input__image="tall.png", camera__intrinsics=[60.0, 60.0, 30.0, 150.0])
    code, _, err = sana_wm("validate-manifest", path)
    assert code == 0
    assert "the video shows the middle 12% of its 60x300 pixels; it is enlarged 2.7 times" in err


def test_too_little_disk_is_said_with_the_bytes_needed(
    write_manifest: Write, sana_wm: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: type(usage)(usage.total, usage.total - 1000, 1000))
    code, _, err = sana_wm("validate-manifest", write_manifest())
    assert code == 2
    assert "too little free space" in err
    assert "got 1000 bytes" in err


def test_a_resolved_manifest_names_its_inputs_by_hash(write_manifest: Write, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("A road.\n")
    path = write_manifest(input__prompt=..., input__prompt_file="prompt.txt")
    resolved = inspect(path, {}).require()[1]
    assert (resolved.input.prompt, resolved.input.prompt_file) == ("A road.", None)
    assert set(resolved.inputs) == {"input.image", "input.prompt_file"}
    assert all(len(file.sha256) == 64 for file in resolved.inputs.values())


def test_help_is_quick_because_it_loads_nothing_heavy() -> None:
    """The time itself is measured by `reports/`; here, that nothing is loaded that takes time."""
    question = "import sys, sana_wm.cli; print(len(sys.modules))"
    done = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 400
