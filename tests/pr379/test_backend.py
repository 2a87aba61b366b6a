"""`"backend": "pr379"`: what the manifest and the preflight refuse, and runs through upstream's own classes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import draw_picture, tiny_manifest

Write = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
PROGRAM = Path(__file__).parent / "programs" / "golden.py"

#: Relative errors against the golden outputs: exact attention, attention rounded as shipped, and after four steps.
TOLERANCES = {
    "dit.a_fp32sdpa": 1e-5,
    "dit.b_fp32sdpa": 1e-5,
    "dit.rot_fp32sdpa": 1e-5,
    "dit.a": 2e-3,
    "dit.b": 2e-3,
    "dit.rot": 2e-3,
    "loop.cfg5_fp32sdpa": 1e-5,
    "loop.cfg5": 1e-2,
    "loop.cfg1": 1e-2,
    "refiner.split.a": 1e-5,
    "refiner.split.b": 1e-5,
}


@pytest.fixture(scope="session")
def errors(pr_root: Path, golden: Path) -> dict[str, float]:
    """What `programs/golden.py` measures, in a process of its own."""
    command = [sys.executable, str(PROGRAM), str(pr_root), str(golden)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", TOLERANCES)
def test_upstreams_own_classes_give_the_golden_outputs(errors: dict[str, float], name: str) -> None:
    assert errors[name] <= TOLERANCES[name]


def test_no_golden_output_is_left_out(errors: dict[str, float]) -> None:
    assert {name for name in errors if not name.endswith(".max_abs")} == set(TOLERANCES)


def bfloat16_errors(program: str, checkout: Path, golden: Path, *options: str) -> dict[str, float]:
    """Relative errors in bfloat16 against the exact golden outputs, by a program of ours."""
    path = PROGRAM.with_name(program)
    command = [sys.executable, str(path), str(checkout), str(golden), "--dtype", "bfloat16", *options]
    environment = os.environ | ({"TRITON_INTERPRET": "1"} if program == "interpreted.py" else {})
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return {name: error for name, error in json.loads(done.stdout).items() if not name.endswith(".max_abs")}


def assert_at_most_twice(patched: dict[str, float], stock: dict[str, float]) -> None:
    """No output may be more than twice as far off as upstream's own; NaN is."""
    assert {"dit.a", "loop.cfg5", "refiner.split.a"} <= patched.keys()
    assert {name: (patched[name], stock[name]) for name in patched if not patched[name] <= 2 * stock[name]} == {}


@pytest.mark.cuda
def test_bfloat16_on_a_card_is_at_most_twice_as_far_off_as_with_upstreams_kernels(pr_root: Path, golden: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("triton")
    pytest.importorskip("einops")
    on_card = ("--device", "cuda")
    stock = bfloat16_errors("golden.py", pr_root, golden, *on_card, "--stock")
    assert_at_most_twice(bfloat16_errors("golden.py", pr_root, golden, *on_card), stock)


@pytest.mark.long
def test_bfloat16_on_the_cpu_is_at_most_twice_as_far_off_as_with_upstreams_kernels(pr_root: Path, golden: Path) -> None:
    pytest.importorskip("triton", reason="Triton's interpreter, some minutes: pip install triton")
    stock = bfloat16_errors("interpreted.py", pr_root, golden)
    assert_at_most_twice(bfloat16_errors("golden.py", pr_root, golden), stock)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__backend": "pr379"}, "pr_root is needed"),
        (
            {"model__backend": "pr379", "model__pr_root": "Sana", "model__layout": "diffusers"},
            'model.layout must be "original" with backend pr379',
        ),
        ({"model__backend": "pr379", "model__pr_root": "Sana"}, 'refiner.mode must be "single_shot"'),
        (
            {
                "model__backend": "pr379",
                "model__pr_root": "Sana",
                "refiner": {"mode": "single_shot"},
                "stage1__camera_rescale": "diffusers",
            },
            'stage1.camera_rescale must be "pr379"',
        ),
        (
            {"model__backend": "pr379", "model__pr_root": "nowhere", "refiner": {"mode": "single_shot"}},
            "is not a folder",
        ),
    ],
)
def test_a_manifest_that_upstream_cannot_run_is_refused(
    write_manifest: Write, sana_wm: Run, changes: dict[str, Any], said: str
) -> None:
    code, _, err = sana_wm("validate-manifest", write_manifest(**changes))
    assert code == 2
    assert said in err


def test_an_unpatched_checkout_is_refused_with_the_command_that_patches_it_and_then_for_its_code(
    write_manifest: Write, sana_wm: Run, clone: Path
) -> None:
    changes = {"model__backend": "pr379", "model__pr_root": str(clone), "refiner": {"mode": "single_shot"}}
    code, _, err = sana_wm("validate-manifest", write_manifest(**changes))
    assert code == 2
    assert f"sana-wm patches apply --checkout {clone}" in err
    assert sana_wm("patches", "apply", "--checkout", clone)[0] == 0
    code, _, err = sana_wm("validate-manifest", write_manifest(**changes))
    assert code == 2
    assert "other code than the patch was made for" in err
    assert "git checkout 40151c8" in err


def test_changes_of_other_code_are_told_and_run(write_manifest: Write, sana_wm: Run, pr_root: Path) -> None:
    readme = pr_root / "README.md"
    before = readme.read_text()
    readme.write_text("mine\n")
    changes = {"model__backend": "pr379", "model__pr_root": str(pr_root), "refiner": {"mode": "single_shot"}}
    code, out, err = sana_wm("validate-manifest", write_manifest(**changes))
    readme.write_text(before)
    assert code == 0, err
    assert "README.md differ from the commit" in out + err


def test_the_default_backend_needs_no_checkout(write_manifest: Write, sana_wm: Run) -> None:
    assert sana_wm("validate-manifest", write_manifest())[0] == 0


def manifest_for(folder: Path, model: dict[str, Any], pr_root: Path, backend: str) -> Path:
    """33 frames, 4 steps, single-shot refiner; in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    data = tiny_manifest(draw_picture(folder / "picture.png"), model)
    data["model"] |= {"backend": backend, "pr_root": str(pr_root)}
    data["camera"]["action"] = "w-20,jw-12"
    data["video"]["num_frames"] = 33
    data["stage1"] = {"num_inference_steps": 4, "guidance_until": 0.5, "checkpoint_every": 1}
    data["refiner"] = {"mode": "single_shot"}
    path = folder / "manifest.json"
    path.write_text(json.dumps(data))
    return path


@pytest.fixture(scope="session")
def runs(
    tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, dict[str, Any]], pr_root: Path
) -> dict[str, Path]:
    """One whole run with either backend, from manifest to MP4."""
    made: dict[str, Path] = {}
    for backend in ("diffusers", "pr379"):
        folder = tmp_path_factory.mktemp(backend)
        manifest = manifest_for(folder, tiny_models["original"], pr_root, backend)
        command = [sys.executable, "-m", "sana_wm", "run-pipeline", str(manifest)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        made[backend] = folder / "run"
    return made


@pytest.mark.parametrize("name", ["stage1", "refined"])
def test_both_backends_make_the_same_latents(runs: dict[str, Path], name: str) -> None:
    from safetensors.torch import load_file

    ours, upstreams = (load_file(run / "latents" / f"{name}.safetensors")["latents"] for run in runs.values())
    assert float((ours - upstreams).norm() / ours.norm()) <= 1e-5


def test_a_run_through_upstream_ends_in_a_video_with_receipts(runs: dict[str, Path], pr_root: Path) -> None:
    run = runs["pr379"]
    assert (run / "video.mp4").stat().st_size > 10_000
    receipt = json.loads((run / "receipts" / "stage1.json").read_text())
    assert receipt["plan"]["backend"] == "pr379"
    assert receipt["plan"]["passes"] == 6
    assert (receipt["plan"]["guidance_passes"], receipt["plan"]["plan_with_guidance"]["guidance_passes"]) == (1, 2)
    commit = subprocess.run(["git", "-C", pr_root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert receipt["versions"]["nvlabs_sana"] == receipt["plan"]["commit"] == commit.stdout.strip()
    assert "nvlabs_sana" not in json.loads((runs["diffusers"] / "receipts" / "stage1.json").read_text())["versions"]
    assert {phase["name"] for phase in receipt["phases"]} == {"text_encoder", "vae_encoder", "transformer"}


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    runs: dict[str, Path], tmp_path: Path, tiny_models: dict[str, dict[str, Any]], pr_root: Path
) -> None:
    manifest = manifest_for(tmp_path, tiny_models["original"], pr_root, "pr379")
    process = subprocess.Popen([sys.executable, "-m", "sana_wm", "run-pipeline", str(manifest)])
    checkpoints = tmp_path / "run" / "checkpoints" / "stage1"
    while process.poll() is None and not list(checkpoints.glob("*")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    command = [sys.executable, "-m", "sana_wm", "resume", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("stage1", "refined"):
        whole, stopped = (run / "latents" / f"{name}.safetensors" for run in (runs["pr379"], tmp_path / "run"))
        assert whole.read_bytes() == stopped.read_bytes()


def test_the_released_weight_file_fits_upstreams_network_at_full_size(pr_root: Path) -> None:
    program = PROGRAM.with_name("full_size.py")
    done = subprocess.run([sys.executable, str(program), str(pr_root)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "stored_tensors": 872,
        "parameters": 2_661_800_448,
        "same_names_and_shapes": True,
    }
