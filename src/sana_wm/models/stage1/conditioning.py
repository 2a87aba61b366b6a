"""Everything that stays the same from step to step, made once per run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import cast

import torch
from diffusers.models.transformers.transformer_sana_wm import SanaVideoMSCamCtrlBlock, SanaWMTransformer3DModel
from torch import Tensor

from sana_wm.models.stage1.positions import Positions, build_ray_transforms, build_rotations
from sana_wm.models.stage1.text_attention import TextKeys, encode_text_keys
from sana_wm.planning.stage1 import Stage1Plan


@dataclass(frozen=True)
class PluckerProjection:
    """A block's two linear maps of the plucker rays as one: (P, C), the bias in the row of the constant channel."""

    weight: Tensor


@dataclass(frozen=True)
class Stage1Conditioning:
    """What `Stage1Engine.prepare` makes.

    Attributes:
        grid: Latent frames, height, width.
        text: Per block, one set of text keys per prompt, negative prompt first.
        positions: Rotary angles and ray transforms.
        plucker: (T, 1, S, P), plucker rays with a constant channel.
        plucker_projections: Per block.
        plan: How a step is cut.
    """

    grid: tuple[int, int, int]
    text: tuple[tuple[TextKeys, ...], ...]
    positions: Positions
    plucker: Tensor
    plucker_projections: tuple[PluckerProjection | None, ...]
    plan: Stage1Plan

    @property
    def prompts(self) -> int:
        """How many prompts there are: 2 with guidance, else 1."""
        return len(self.text[0])


def blocks_of(transformer: SanaWMTransformer3DModel) -> list[SanaVideoMSCamCtrlBlock]:
    """The transformer's blocks, by their type."""
    return [cast(SanaVideoMSCamCtrlBlock, block) for block in transformer.blocks]


def encode_text(
    transformer: SanaWMTransformer3DModel, prompt_embeds: Tensor, prompt_attention_mask: Tensor
) -> tuple[tuple[TextKeys, ...], ...]:
    """Text keys of every block: (prompts, 1, L, D) embeddings, (prompts, L) mask."""
    parameter = next(transformer.parameters())
    text = transformer.y_embedder(prompt_embeds[:, 0].to(parameter.device, parameter.dtype))
    if transformer.y_norm:
        text = transformer.attention_y_norm(text)
    keep = prompt_attention_mask.to("cpu").bool()
    return tuple(
        tuple(encode_text_keys(block.cross_attn, item, kept) for item, kept in zip(text, keep, strict=True))
        for block in blocks_of(transformer)
    )


def build_positions(
    transformer: SanaWMTransformer3DModel,
    camera: Mapping[str, Tensor],
    grid: tuple[int, int, int],
    first_frame: int = 0,
) -> Positions:
    """Rotary tables and ray transforms on the network's device; the camera's matrices are of the grid's frames."""
    device = next(transformer.parameters()).device
    rotation, half_rotation = build_rotations(transformer, grid, device, first_frame)
    rays = build_ray_transforms(camera["P"], camera["P_inv"], half_rotation, grid, device)
    return Positions(rotation, rays)


def arrange_plucker(chunk_plucker: Tensor, like: Tensor) -> Tensor:
    """(48, T, h, w) -> (T, 1, S, P): rays, a constant 1, and zeros up to a multiple of 8 channels.

    Eight bfloat16 are 16 bytes, the alignment of a row that matrix kernels read in whole vectors.
    """
    channels, frames = chunk_plucker.shape[:2]
    width = -(-(channels + 1) // 8) * 8
    out = torch.zeros((frames, 1, chunk_plucker[0, 0].numel(), width))
    out[:, 0, :, :channels] = chunk_plucker.float().flatten(2).permute(1, 2, 0)
    out[..., channels] = 1
    return out.to(like.device, like.dtype)


def merge_plucker_projections(transformer: SanaWMTransformer3DModel) -> tuple[PluckerProjection | None, ...]:
    """Multiply each block's projection into the embedder before it: 48 inputs instead of the hidden size.

    Both are linear and nothing stands between them. The product is made in float32.
    """
    embedder = transformer.plucker_embedder.proj
    first = embedder.weight.flatten(1).float()
    first_bias = cast(Tensor, embedder.bias).float()

    def merge(projection: torch.nn.Linear) -> PluckerProjection:
        channels = first.shape[1]
        second = projection.weight.float()
        weight = second.new_zeros((-(-(channels + 1) // 8) * 8, second.shape[0]))
        weight[:channels] = (second @ first).t()
        weight[channels] = second @ first_bias + projection.bias.float()
        return PluckerProjection(weight.to(projection.weight.dtype))

    return tuple(
        merge(block.plucker_proj) if hasattr(block, "plucker_proj") else None for block in blocks_of(transformer)
    )


def tensor_bytes(*parts: object) -> int:
    """Bytes of all tensors in nested dataclasses and tuples."""
    total = 0
    for part in parts:
        if isinstance(part, Tensor):
            total += part.numel() * part.element_size()
        elif isinstance(part, tuple):
            total += tensor_bytes(*part)
        elif is_dataclass(part):
            total += tensor_bytes(*(getattr(part, field.name) for field in fields(part)))
    return total
