"""The whole pipeline as a user runs it, on a real picture and real poses, against diffusers' own pipelines.

Reference and runs use the same tiny checkpoint and the same CPU noise, in float32. diffusers rounds q, k, v of softmax
self-attention to bfloat16 even in float32; the reference leaves that out, because a rounding that flips in one of two
equal computations hides everything below it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

NUM_FRAMES = 9
TOLERANCE = 1e-5

pytestmark = pytest.mark.usefixtures("one_thread_at_a_time")


@pytest.fixture(scope="module")
def one_thread_at_a_time() -> None:
    import torch

    torch.set_num_threads(2)


def relative_error(result: Any, reference: Any) -> float:
    return float((result - reference).norm() / reference.norm())


def run_pipeline(folder: Path, manifest: dict[str, Any]) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**manifest, "output_dir": "run"}))
    command = [sys.executable, "-m", "sana_wm", "run-pipeline", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def demo_manifest(demo: Path, tiny_models: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": 1,
        "name": "parity",
        "model": tiny_models["original"],
        "input": {
            "image": str(demo / "demo_0.png"),
            "prompt_file": str(demo / "demo_0.txt"),
            "negative_prompt": "blur",
        },
        "camera": {"poses": str(demo / "demo_0_pose.npy"), "intrinsics": str(demo / "demo_0_intrinsics.npy")},
        "video": {"num_frames": NUM_FRAMES, "frames_dir": "frames"},
        "stage1": {"num_inference_steps": 3, "camera_rescale": "diffusers"},
        "device": "cpu",
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, demo_manifest: dict[str, Any]) -> Path:
    """A finished run of the original layout."""
    return run_pipeline(tmp_path_factory.mktemp("parity"), demo_manifest)


@pytest.fixture(scope="module")
def stage1_reference(demo: Path, demo_manifest: dict[str, Any], tiny_models: dict[str, dict[str, Any]]) -> Any:
    """Stage 1 latents of diffusers' `SanaWMPipeline`, from the diffusers layout."""
    import torch
    from diffusers import AutoencoderKLLTX2Video, FlowMatchEulerDiscreteScheduler, SanaWMTransformer3DModel
    from diffusers.pipelines.sana_wm import SanaWMPipeline
    from transformers import AutoTokenizer, Gemma2ForCausalLM

    root = Path(tiny_models["diffusers"]["root"])
    pipeline = SanaWMPipeline(
        tokenizer=AutoTokenizer.from_pretrained(root / "tokenizer"),
        text_encoder=Gemma2ForCausalLM.from_pretrained(root / "text_encoder"),
        vae=AutoencoderKLLTX2Video.from_pretrained(root / "vae"),
        transformer=SanaWMTransformer3DModel.from_pretrained(root / "transformer"),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=9.8),
    )
    pipeline.set_progress_bar_config(disable=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor)
        return pipeline(
            Image.open(demo / "demo_0.png").convert("RGB"),
            (demo / "demo_0.txt").read_text().strip(),
            negative_prompt=demo_manifest["input"]["negative_prompt"],
            c2w=np.load(demo / "demo_0_pose.npy"),
            intrinsics=np.load(demo / "demo_0_intrinsics.npy"),
            num_frames=NUM_FRAMES,
            num_inference_steps=demo_manifest["stage1"]["num_inference_steps"],
            generator=torch.Generator("cpu").manual_seed(42),
            output_type="latent",
        ).latent


def load_latents(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path)["latents"]


def test_stage1_latents_are_those_of_diffusers(run: Path, stage1_reference: Any) -> None:
    latents = load_latents(run / "latents" / "stage1.safetensors")
    assert tuple(latents.shape) == (1, 128, 2, 22, 40)
    assert relative_error(latents, stage1_reference) <= TOLERANCE


def test_refined_latents_are_those_of_diffusers(run: Path, demo: Path, tiny_models: dict[str, dict[str, Any]]) -> None:
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, SanaWMLTX2RefinerTransformer3DModel
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from diffusers.pipelines.sana_wm import SanaWMLTX2Refiner
    from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

    root = Path(tiny_models["diffusers"]["refiner_root"] or Path(tiny_models["diffusers"]["root"]) / "refiner")
    refiner = SanaWMLTX2Refiner(
        transformer=SanaWMLTX2RefinerTransformer3DModel.from_pretrained(root / "transformer"),
        connectors=LTX2TextConnectors.from_pretrained(root / "connectors"),
        tokenizer=AutoTokenizer.from_pretrained(root / "tokenizer"),
        text_encoder=Gemma3ForConditionalGeneration.from_pretrained(root / "text_encoder"),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
    )
    refiner.set_progress_bar_config(disable=True)
    reference = refiner(
        load_latents(run / "latents" / "stage1.safetensors"),
        (demo / "demo_0.txt").read_text().strip(),
        fps=16,
        generator=torch.Generator("cpu").manual_seed(42),
        output_type="latent",
    )
    assert relative_error(load_latents(run / "latents" / "refined.safetensors"), reference) <= TOLERANCE


def test_the_video_is_the_untiled_decode_without_the_sink_frame(
    run: Path, tiny_models: dict[str, dict[str, Any]]
) -> None:
    import torch
    from diffusers import AutoencoderKLLTX2Video

    from sana_wm.video.reader import probe, read_frames

    info = probe(run / "video.mp4")
    assert (info.num_frames, info.width, info.height, info.fps) == (NUM_FRAMES - 1, 1280, 704, 16)
    vae = AutoencoderKLLTX2Video.from_pretrained(Path(tiny_models["original"]["root"]) / "vae")
    latents = load_latents(run / "latents" / "refined.safetensors")
    mean, std = (value.view(1, -1, 1, 1, 1) for value in (vae.latents_mean, vae.latents_std))
    with torch.no_grad():
        samples = vae.decode(latents / vae.config.scaling_factor * std + mean, return_dict=False)[0]
    expected = (samples[0, :, 1:] * 127.5 + 127.5).round().clamp(0, 255).permute(1, 2, 3, 0).numpy()
    written = np.stack([np.asarray(Image.open(path)) for path in sorted((run.parent / "frames").iterdir())])
    assert np.abs(written.astype(int) - expected).max() <= 1
    # H.264 in 4:2:0 is lossy, the more so on noise: each frame must still be nearest to itself.
    shown = np.stack(list(read_frames(run / "video.mp4"))).astype(np.float32)
    assert np.abs(shown - expected).mean() < 0.8 * np.abs(shown[:-1] - expected[1:]).mean()
