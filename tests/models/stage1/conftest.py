from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from diffusers import SanaWMTransformer3DModel
from safetensors import safe_open
from safetensors.torch import load_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny(golden: Path) -> SanaWMTransformer3DModel:
    """The tiny transformer of the golden data, from its weights in the original key layout."""
    path = golden / "dit_tiny_weights.safetensors"
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    transformer = SanaWMTransformer3DModel(
        in_channels=config["in_channels"],
        num_layers=config["depth"],
        hidden_size=config["hidden_size"],
        num_attention_heads=config["num_heads"],
        softmax_every_n=config["softmax_every_n"],
        linear_head_dim=config["linear_head_dim"],
        caption_channels=config["caption_channels"],
        chunk_plucker_post_attn_blocks=config["depth"],
    )
    transformer.load_state_dict(
        {
            key.replace("t_embedder.mlp.0.", "t_embedder.linear_1.").replace("mlp.2.", "linear_2.")
            if key.startswith("t_embedder")
            else key: value
            for key, value in load_file(path).items()
            if key not in ("pos_embed", "y_embedder.y_embedding")
        }
    )
    return transformer.eval()
