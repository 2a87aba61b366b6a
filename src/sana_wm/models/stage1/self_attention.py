"""What the delta-net and the softmax blocks share: their projections, and how the two branches come together."""

from __future__ import annotations

from typing import Literal

import torch
from diffusers.models.transformers.transformer_sana_wm import (
    BidirectionalGDNUCPESinglePathLiteLA,
    _SoftmaxUCPESinglePathLiteLA,  # pyright: ignore[reportPrivateUsage]  # the class has no public name
)
from torch import Tensor
from torch.nn import functional as F

DeltaNetModule = BidirectionalGDNUCPESinglePathLiteLA
SoftmaxModule = _SoftmaxUCPESinglePathLiteLA


def project_qkv(x: Tensor, module: DeltaNetModule | SoftmaxModule, part: Literal["query", "key", "value"]) -> Tensor:
    """One third of the fused projection of `x` (..., C)."""
    channels = x.shape[-1]
    start = ("query", "key", "value").index(part) * channels
    return F.linear(x, module.qkv.weight[start : start + channels])


def split_heads(x: Tensor, head_dim: int) -> Tensor:
    """(T, B, S, C) -> (T, B, S, H, D)."""
    return x.unflatten(-1, (-1, head_dim))


def merge_branches(modulated: Tensor, main: Tensor, camera: Tensor, module: DeltaNetModule | SoftmaxModule) -> Tensor:
    """Add the camera branch, gate, project.

    Args:
        modulated: (T, B, S, C), the block's input after norm and modulation.
        main: (T, B, S, C), result of the main branch.
        camera: (T, B, S, C), result of the camera branch in world space.
        module: The block's attention module.
    """
    out = module.out_proj_cam(camera).add_(main)
    if module.output_gate is not None:
        out.mul_(F.silu(module.output_gate(modulated), inplace=True))
    return module.proj(out)


def frame_chunks(frames: int, size: int) -> list[slice]:
    """Ranges of at most `size` frames."""
    return [slice(start, min(start + size, frames)) for start in range(0, frames, size)]


def zero_framed(frames: int, reach: int, like: Tensor, before: Tensor | None = None) -> Tensor:
    """An empty (T + 2 reach, B, S, C) with zero frames on both sides, for filters over time.

    `before`, (reach, B, S, C), stands for the zeros on the left where the video did not begin with these frames.
    """
    padded = like.new_empty((frames + 2 * reach, *like.shape[1:]))
    padded[:reach] = 0 if before is None else before
    padded[frames + reach :] = 0
    return padded


def empty_by_head(x: Tensor) -> Tensor:
    """An empty (T, B, H, S, D) tensor for `x` (T, B, S, H, D): one matrix per frame, item and head."""
    frames, batch, spatial, heads, head_dim = x.shape
    return torch.empty((frames, batch, heads, spatial, head_dim), dtype=x.dtype, device=x.device)


def by_token(x: Tensor) -> Tensor:
    """View (T, B, H, S, D) as (T, B, S, H, D) or the other way round."""
    return x.transpose(2, 3)
