from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sana_wm.weights.tiny import write_tiny_checkpoint

LAYOUTS = ("original", "diffusers")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    folders = {name: tmp_path_factory.mktemp(name) for name in LAYOUTS}
    for name, folder in folders.items():
        write_tiny_checkpoint(folder, name, seed=0)
    return folders


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_another_process_writes_the_same_bytes(roots: dict[str, Path], tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from sana_wm.weights.tiny import write_tiny_checkpoint; "
        "[write_tiny_checkpoint(Path(sys.argv[1], name), name, seed=0) for name in sys.argv[2:]]"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), *LAYOUTS], check=True)
    for name in LAYOUTS:
        assert digests(tmp_path / name) == digests(roots[name])


def test_another_seed_changes_every_weight_file(roots: dict[str, Path], tmp_path: Path):
    write_tiny_checkpoint(tmp_path, "original", seed=1)
    before, after = digests(roots["original"]), digests(tmp_path)
    assert before.keys() == after.keys()
    for name in before:
        assert (before[name] == after[name]) == (not name.endswith(".safetensors")), name


@pytest.mark.parametrize("name", LAYOUTS)
def test_it_is_small_and_sharded_where_the_released_files_are(name: str, roots: dict[str, Path]):
    root = roots[name]
    assert sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) < 60e6
    gemma2 = root / ("gemma-2-2b-it" if name == "original" else "text_encoder")
    for folder in (gemma2, root / "refiner" / "transformer", root / "refiner" / "text_encoder"):
        (index,) = folder.glob("*.safetensors.index.json")
        assert len(set(json.loads(index.read_text())["weight_map"].values())) == 2


def test_the_vae_config_is_the_released_one_but_for_its_widths(roots: dict[str, Path]):
    config = json.loads((roots["original"] / "vae" / "config.json").read_text())
    released = {
        "encoder_causal": True,
        "decoder_causal": False,
        "encoder_spatial_padding_mode": "zeros",
        "decoder_spatial_padding_mode": "reflect",
        "spatial_compression_ratio": 32,
        "temporal_compression_ratio": 8,
        "latent_channels": 128,
        "timestep_conditioning": False,
        "decoder_inject_noise": [False] * 4,
        "layers_per_block": [4, 6, 6, 2, 2],
        "decoder_layers_per_block": [5, 5, 5, 5],
        "patch_size": 4,
    }
    assert {key: config[key] for key in released} == released


def test_the_tokenizer_takes_the_long_prefix_and_any_script(roots: dict[str, Path]):
    from diffusers.pipelines.sana_wm.pipeline_sana_wm import DEFAULT_CHI_PROMPT
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(roots["original"] / "gemma-2-2b-it", local_files_only=True)
    text = "\n".join(DEFAULT_CHI_PROMPT) + "Ein Café, 猫 ☂"
    tokens = tokenizer([text, "a"], padding="longest", padding_side="right", return_tensors="pt")
    assert tokenizer.decode(tokens.input_ids[0], skip_special_tokens=True) == text
    assert tokens.input_ids[:, 0].tolist() == [tokenizer.bos_token_id] * 2 == [2, 2]
    assert tokens.input_ids[1, 2:].unique().tolist() == [tokenizer.pad_token_id] == [0]
    assert tokenizer.unk_token_id not in tokens.input_ids
    assert tokens.input_ids.max() < 512


@torch.no_grad()
def test_the_whole_model_gives_lively_finite_frames(roots: dict[str, Path]):
    """Four steps with guidance 5, the refiner and the decoder, through diffusers' own pipelines."""
    from diffusers import SanaWMLTX2Refiner, SanaWMPipeline

    pipeline = SanaWMPipeline.from_pretrained(roots["diffusers"])
    refiner = SanaWMLTX2Refiner.from_pretrained(roots["diffusers"] / "refiner")
    first, picture = first_latent(pipeline)
    latents = sample(pipeline, first)
    refined = refiner(latents, "A cat.", fps=16, output_type="latent")
    frames = pipeline._decode_latents(refined)

    assert 0.3 < first.std() < 3
    assert 0.3 < latents.std() < 3
    assert 0.3 < refined.std() < 3
    assert (refined - latents)[:, :, 1:].std() > 0.1
    assert frames.shape == (1, 3, 17, *picture.shape[-2:])
    assert torch.isfinite(frames).all()
    assert (frames.abs() > 1).float().mean() < 0.05
    assert frames.std(dim=(1, 3, 4)).min() > 0.1
    assert frames.diff(dim=2).std() > 0.05


def first_latent(pipeline: Any) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 96), indexing="ij")
    picture = torch.stack([rows, columns, rows * columns])[None]
    return pipeline._encode_first_frame(picture, torch.device("cpu"), torch.float32), picture


def sample(pipeline: Any, first: torch.Tensor) -> torch.Tensor:
    latents = torch.cat([first, torch.randn(1, 128, 2, 2, 3, generator=torch.Generator().manual_seed(0))], dim=2)
    embeds, mask, negative, negative_mask = pipeline.encode_prompt("A cat.", "")
    for now, then in zip(*(pipeline_sigmas(pipeline)[start:] for start in (0, 1)), strict=False):
        timestep = torch.full((1, 1, 3), float(now * 1000))
        timestep[..., 0] = 0
        cond = velocity(pipeline, latents, timestep, embeds, mask)
        uncond = velocity(pipeline, latents, timestep, negative, negative_mask)
        latents[:, :, 1:] += ((then - now) * (uncond + 5 * (cond - uncond)))[:, :, 1:]
    assert sensitivity(pipeline, latents, embeds, mask) > 0.02
    return latents


def pipeline_sigmas(pipeline: Any) -> torch.Tensor:
    assert pipeline.scheduler.config.shift == 9.8
    pipeline.scheduler.set_timesteps(4)
    return pipeline.scheduler.sigmas


def velocity(
    pipeline: Any,
    latents: torch.Tensor,
    timestep: torch.Tensor,
    embeds: torch.Tensor,
    mask: torch.Tensor,
    step: float = 0.2,
    plucker: float = 1.0,
) -> torch.Tensor:
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 2, 3] = torch.arange(3) * step
    cameras = torch.cat([poses.flatten(1), torch.tensor([[2.0, 2.0, 1.5, 1.0]]).repeat(3, 1)], dim=1)[None]
    rays = plucker * torch.randn(1, 48, 3, 2, 3, generator=torch.Generator().manual_seed(1))
    return pipeline.transformer(
        latents,
        timestep,
        embeds,
        encoder_attention_mask=mask,
        camera_conditions=cameras,
        chunk_plucker=rays,
        return_dict=False,
    )[0]


def sensitivity(pipeline: Any, latents: torch.Tensor, embeds: torch.Tensor, mask: torch.Tensor) -> float:
    """The least that poses or rays change: a branch that the class starts with zeros would not change anything."""
    timestep = torch.full((1, 1, 3), 500.0)
    base = velocity(pipeline, latents, timestep, embeds, mask)
    moved = velocity(pipeline, latents, timestep, embeds, mask, step=1.0)
    turned = velocity(pipeline, latents, timestep, embeds, mask, plucker=-1.0)
    return min(float((base - moved).std()), float((base - turned).std()))
