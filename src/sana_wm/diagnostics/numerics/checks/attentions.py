"""Attention: our function on its kernels, and torch's where it makes the score matrix."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from sana_wm.diagnostics.numerics.check import BFLOAT16_TOLERANCE, Draw, Inputs, NumericsCheck
from sana_wm.diagnostics.numerics.checks.advice import UNUSED, UPDATE
from sana_wm.models.attention import AttentionBudget, attention, blockwise_attention

FLASH = "flash kernel out of bounds before 2.11: #174861; rounds the scale in 2.13"
GENERAL_PATH = "the path with a score matrix: #195163 (36080 keys on M1 and M2), #179592, #149261"

HEADS, QUERIES = 2, 64
# 41 latent frames of 22x40 tokens.
KEYS, KEYS_ON_CPU = 36080, 2048


def softmax_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """The formula, for the reference; a mask (..., Lk) is true where a key takes part."""
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ value


def masked_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Our function with a boolean mask."""
    return attention(query, key, value, mask=mask)


def attention_by_blocks(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Our path for devices without a kernel; the CPU gets small blocks, to have more than one."""
    budget = AttentionBudget() if query.device.type != "cpu" else AttentionBudget(max_score_elements=32 * 1000)
    return blockwise_attention(query, key, value, mask=None, scale=query.shape[-1] ** -0.5, budget=budget)


def eager_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Masked softmax in float32, as Gemma-2 computes it."""
    masked = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return masked.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)


def _draw(draw: Draw, head_dim: int) -> Inputs:
    keys = draw.size(KEYS, KEYS_ON_CPU)
    # Tokens before heads in memory, as the networks hold them.
    operands = [draw.normal(1, length, HEADS, head_dim) for length in (QUERIES, keys, keys)]
    return tuple(operand.transpose(1, 2) for operand in operands)


def _draw_masked(draw: Draw, head_dim: int) -> Inputs:
    query, key, value = _draw(draw, head_dim)
    return query, key, value, draw.integers(10, 1, 1, 1, key.shape[2]) > 2


def _check(check_id: str, operation: str, known_issue: str, head_dim: int, *, masked: bool = False) -> NumericsCheck:
    return NumericsCheck(
        id=check_id,
        operation=operation,
        known_issue=known_issue,
        used=True,
        draw=partial(_draw_masked if masked else _draw, head_dim=head_dim),
        compute=masked_attention if masked else attention,
        reference=softmax_attention,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    )


CHECKS = (
    _check("attention-128", "attention of head dim 128 over 36080 keys (refiner, camera branch)", FLASH, 128),
    _check("attention-128-mask", "the same with a boolean mask (refiner's prompt)", FLASH, 128, masked=True),
    _check("attention-112", "attention of head dim 112, padded to 128 on MPS (Stage 1)", GENERAL_PATH, 112),
    _check("attention-112-mask", "the same with a boolean mask", GENERAL_PATH, 112, masked=True),
    NumericsCheck(
        id="attention-by-blocks",
        operation="attention by blocks of keys below 32767, float32, baddbmm in place",
        known_issue="bmm over 32767 terms and more: #177116, #195163",
        used=True,
        draw=partial(_draw, head_dim=112),
        compute=attention_by_blocks,
        reference=softmax_attention,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="sdpa-112",
        operation="torch's attention with head dim 112, not padded, over 36080 keys",
        known_issue=GENERAL_PATH,
        used=False,
        draw=partial(_draw, head_dim=112),
        compute=F.scaled_dot_product_attention,
        reference=softmax_attention,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UNUSED,
    ),
    NumericsCheck(
        id="softmax-mask",
        operation="masked softmax in float32 (Gemma-2)",
        known_issue="masked_fill beyond 2^32 elements; none known at this size",
        used=True,
        draw=lambda draw: (draw.normal(1, 8, 517, 517), draw.integers(10, 1, 1, 517, 517) > 2),
        compute=eager_softmax,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
)
