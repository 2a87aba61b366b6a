"""Softmax attention of upstream's Stage 1 blocks within a memory budget, one item of the batch at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sana_wm_mps.attention import attention
from sana_wm_mps.rotation import angles, rotate_pairs
from sana_wm_mps.settings import SETTINGS

# Upstream widens a head to what FlashAttention-2 takes and scales by the widened head dim.
FLASH_HEAD_DIMS = (32, 64, 128, 256)


def forward_softmax_attn(
    block: Any,
    x: Tensor,
    HW: tuple[int, int, int],
    rotary_emb: Tensor | None,
    frame_causal: bool,
    apply_output_gate: bool = True,
    **arguments: Any,
) -> Tensor:
    """The main branch of a softmax block, (B, N, C) -> (B, N, C); in place of `sana_gdn_blocks._forward_softmax_attn`.

    Source: PR #379, whose float32 path rounds queries, keys and values to bfloat16 (`Settings.attention_dtype`).
    """
    del HW
    if frame_causal or apply_output_gate or arguments.get("frame_valid_mask") is not None:
        raise NotImplementedError("causal or masked softmax attention is for training and streaming, not for SANA-WM")
    tables = None if rotary_emb is None else angles(rotary_emb, x.device)
    out = torch.empty_like(x)
    for item, row in enumerate(x):
        query, key, value = block.qkv(row).chunk(3, dim=-1)
        heads = [_split(projected, block.heads) for projected in (block.q_norm(query), block.k_norm(key), value)]
        if tables is not None:
            heads[:2] = [rotate_pairs(part, *tables) for part in heads[:2]]
        out[item] = _join(_attend(*heads, x.dtype, scale=None))
    return out


def forward_cam_branch_softmax(
    block: Any,
    x: Tensor,
    HW: tuple[int, int, int],
    camera_conditions: Tensor,
    rotary_emb: Tensor | None,
    frame_causal: bool,
    **arguments: Any,
) -> Tensor:
    """The camera branch of a softmax block, (B, N, C) -> (B, N, camera channels).

    In place of `sana_gdn_camctrl_blocks._forward_cam_branch_softmax`. Upstream's own function makes queries, keys and
    values in ray space; the transform back is upstream's as well.
    """
    from diffusion.model.nets import sana_gdn_camctrl_blocks as upstream

    if frame_causal or arguments.get("frame_valid_mask") is not None:
        raise NotImplementedError("causal or masked softmax attention is for training and streaming, not for SANA-WM")
    query, key, value, to_world = upstream._prepare_cam_qkv_softmax(
        block, x, HW, camera_conditions, rotary_emb, **arguments
    )
    head_dim = query.shape[2]
    widened = head_dim if head_dim in FLASH_HEAD_DIMS or head_dim > 256 else (128 if head_dim <= 128 else 256)
    seen = torch.empty((*query.shape[:2], query.shape[3], head_dim), dtype=x.dtype, device=x.device)
    for item in range(len(x)):
        heads = [tensor[item].transpose(-1, -2) for tensor in (query, key, value)]
        seen[item] = _attend(*heads, x.dtype, scale=widened**-0.5)
    del query, key, value
    return to_world(seen).transpose(1, 2).flatten(2)


def forward_cross_attention(block: Any, x: Tensor, cond: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention to the prompt, (B, N, C) to (B, L, C); in place of `MultiHeadCrossAttention.forward`.

    Upstream's ends in a `view` that only fits the memory order of some attention kernels.

    Args:
        block: Upstream's module.
        x: (B, N, C).
        cond: (B, 1, L, C) or (B, L, C).
        mask: (B, L), 0 where a token is padding.
    """
    if mask is not None and mask.ndim != 2:
        raise NotImplementedError(f"a prompt mask of {mask.ndim} dims; SANA-WM's has 2")
    cond = cond.reshape(len(x), -1, cond.shape[-1])
    bias = None if mask is None else (1 - mask.to(x.dtype)) * -10000.0
    out = torch.empty_like(x)
    for item, row in enumerate(x):
        key, value = block.kv_linear(cond[item]).chunk(2, dim=-1)
        projected = (block.q_norm(block.q_linear(row)), block.k_norm(key), value)
        heads = [_split(part, block.num_heads)[None] for part in projected]
        out[item] = _join(attention(*heads, mask=None if bias is None else bias[item])[0])
    return block.proj_drop(block.proj(out))


def _attend(query: Tensor, key: Tensor, value: Tensor, dtype: torch.dtype, *, scale: float | None) -> Tensor:
    """Self-attention of one item, (H, N, D) each, rounded as upstream rounds; the result in `dtype`."""
    rounded = SETTINGS.attention_dtype if dtype == torch.float32 else dtype
    out = attention(query.to(rounded)[None], key.to(rounded)[None], value.to(rounded)[None], scale=scale)
    return out[0].to(dtype)


def _split(x: Tensor, heads: int) -> Tensor:
    """(N, C) -> (H, N, D)."""
    return x.unflatten(-1, (heads, -1)).transpose(0, 1)


def _join(x: Tensor) -> Tensor:
    """(H, N, D) -> (N, C)."""
    return x.transpose(0, 1).flatten(1)
