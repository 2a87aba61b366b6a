"""The tiny checkpoint of the student: NVIDIA's streaming repository at toy size, its pickle included."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video
from safetensors.torch import save_file

from sana_wm.names import LayoutName
from sana_wm.weights.layout import DIFFUSERS_STEM, FOLDERS
from sana_wm.weights.streaming_checkpoint import convert_checkpoint
from sana_wm.weights.tiny_models import NETWORKS, build_network, vae


def write_tiny_student(out: Path, layout: LayoutName = "original", seed: int = 0) -> None:
    """Write Stage 1 and the VAE as the repository of a layout has them.

    In NVIDIA's, Stage 1 lies there twice: `model.pt` as a trainer would leave it, and what it was converted to.

    Args:
        out: Folder to write to; made if missing.
        layout: Which of the two; both hold the same numbers.
        seed: Seed of all numbers.
    """
    folders = FOLDERS["streaming", layout]
    _write_vae(out / folders.vae, seed)
    module, tensors = build_network(dataclasses.replace(NETWORKS["transformer"], name="student"), seed)
    config = {key: value for key, value in module.config.items() if not key.startswith("_")}
    folder = out / folders.transformer
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, sort_keys=True, indent=2) + "\n", encoding="utf-8")
    if layout == "diffusers":
        save_file(tensors, folder / f"{DIFFUSERS_STEM}.safetensors", metadata={"format": "pt"})
        return
    released = {
        "model." + key.replace(".linear_1.", ".mlp.0.").replace(".linear_2.", ".mlp.2."): tensor
        for key, tensor in tensors.items()
    }
    released["model.pos_embed"] = torch.zeros(1, 484, config["hidden_size"])
    released["model.y_embedder.y_embedding"] = torch.zeros(300, config["caption_channels"])
    critic = {key: torch.zeros(1) for key in list(released)[:3]}
    torch.save({"generator": released, "critic": critic, "step": 4000}, folder / "model.pt")
    convert_checkpoint(folder / "model.pt", folder)


def _write_vae(folder: Path, seed: int) -> None:
    """Under the class name of upstream, which diffusers does not have."""

    def causal() -> Any:
        return AutoencoderKLLTX2Video.from_config({**vae().config, "decoder_causal": True})

    module, tensors = build_network(dataclasses.replace(NETWORKS["vae"], name="causal_vae", build=causal), seed)
    folder.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in module.config.items() if not key.startswith("_")}
    config["_class_name"] = "AutoencoderKLCausalLTX2Video"
    (folder / "config.json").write_text(json.dumps(config, sort_keys=True, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, folder / f"{DIFFUSERS_STEM}.safetensors", metadata={"format": "pt"})
