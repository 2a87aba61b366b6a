"""A Stage 1 of random weights, made on the device, and random inputs for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.transformers.transformer_sana_wm import (
    SanaWMRotaryPosEmbed,
    SanaWMTransformer3DModel,
    _invert_SE3,  # pyright: ignore[reportPrivateUsage]  # stock camera geometry, so that both engines see the same
    _process_camera_conditions_ucpe,  # pyright: ignore[reportPrivateUsage]
)
from torch import Tensor

# A size between the tiny test checkpoints and the released network, for machines without an accelerator.
MID_SIZE: dict[str, Any] = {
    "num_layers": 8,
    "hidden_size": 448,
    "num_attention_heads": 4,
    "linear_head_dim": 112,
    "caption_channels": 256,
    "chunk_plucker_post_attn_blocks": 8,
}


@dataclass(frozen=True)
class Stage1Inputs:
    """Inputs of one step; shapes as `Stage1Engine` takes them, float32 on the CPU."""

    latents: Tensor
    prompt_embeds: Tensor
    prompt_attention_mask: Tensor
    camera: dict[str, Tensor]


def build_transformer(
    config: dict[str, Any], device: torch.device, dtype: torch.dtype, seed: int = 0
) -> SanaWMTransformer3DModel:
    """A transformer of random weights whose activations stay near 1; the released size when `config` is empty."""
    with torch.device("meta"):
        transformer = SanaWMTransformer3DModel(**config)
    # The rotary table is a plain attribute, so it has to be made again where it is real.
    transformer.rope = SanaWMRotaryPosEmbed(int(transformer.config["linear_head_dim"]), (1, 1, 1), max_seq_len=1024)
    for parameter in transformer.parameters():
        parameter.data = parameter.data.to(dtype)
    transformer = transformer.to_empty(device=device).eval()
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            _fill(name, parameter, generator)
        for buffer in transformer.buffers():
            buffer.zero_()
    return transformer


def _fill(name: str, parameter: Tensor, generator: torch.Generator) -> None:
    if name.endswith("A_log"):
        parameter.uniform_(1.0, 16.0, generator=generator).log_()
    elif name.endswith("dt_bias"):
        parameter.normal_(-4.0, 1.0, generator=generator)
    elif name.endswith("scale_shift_table"):
        parameter.normal_(0.0, 0.3, generator=generator)
    elif ".conv_k" in name:
        parameter.normal_(0.0, 0.4, generator=generator)
    elif parameter.ndim > 1:
        fan_in = parameter[0].numel()
        parameter.normal_(0.0, 1.0 / math.sqrt(fan_in), generator=generator)
    elif name.endswith("bias"):
        parameter.normal_(0.0, 0.02, generator=generator)
    else:
        parameter.normal_(1.0, 0.1, generator=generator)


def build_inputs(transformer: SanaWMTransformer3DModel, grid: tuple[int, int, int], seed: int = 0) -> Stage1Inputs:
    """Random latents and prompts of 300 tokens, and a camera that walks forward and turns."""
    generator = torch.Generator("cpu").manual_seed(seed)
    frames, height, width = grid
    raymap = _walk(frames, height, width)
    raymats, _ = _process_camera_conditions_ucpe(raymap[None], 1, grid, (1, 1, 1))
    P = raymats.reshape(-1, 4, 4)
    return Stage1Inputs(
        latents=torch.randn((1, int(transformer.config["in_channels"]), *grid), generator=generator),
        prompt_embeds=torch.randn((2, 1, 300, int(transformer.config["caption_channels"])), generator=generator),
        prompt_attention_mask=torch.ones((2, 300), dtype=torch.int64),
        camera={
            "raymap": raymap,
            "chunk_plucker": torch.randn((48, *grid), generator=generator),
            "P": P,
            "P_inv": _invert_SE3(P),
        },
    )


def _walk(frames: int, height: int, width: int) -> Tensor:
    """(T, 20): camera-to-world, row by row, and fx, fy, cx, cy in latent pixels. 0.1 units and 0.01 rad a frame."""
    angle = torch.arange(frames) * 0.01
    c2w = torch.eye(4).repeat(frames, 1, 1)
    c2w[:, 0, 0] = c2w[:, 2, 2] = angle.cos()
    c2w[:, 0, 2], c2w[:, 2, 0] = angle.sin(), -angle.sin()
    c2w[:, 2, 3] = torch.arange(frames) * 0.1
    intrinsics = torch.tensor([0.8 * width, 0.8 * width, width / 2, height / 2])
    return torch.cat([c2w.flatten(1), intrinsics.expand(frames, 4)], dim=1)
