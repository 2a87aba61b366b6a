"""Operations that move numbers and must not change them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sana_wm.diagnostics.numerics.check import BFLOAT16_TOLERANCE, EXACT, Draw, Inputs, NumericsCheck
from sana_wm.diagnostics.numerics.checks.advice import UPDATE
from sana_wm.models.stage1.feed_forward import temporal_feed_forward

STRIDED_WRITES = "copies into strided views #182052; kernels with strided outputs"


def join_shifted(frames: Tensor) -> Tensor:
    """Three shifted runs of frames (T, C, S), strided, side by side."""
    tokens = frames.transpose(1, 2)
    return torch.cat([tokens[shift : len(tokens) - 2 + shift] for shift in range(3)], dim=-1)


def filter_frames(x: Tensor, weight: Tensor) -> Tensor:
    """Stage 1's convolution over time: joined neighbours times a matrix."""
    return temporal_feed_forward(x, weight, slice(0, len(x) - 2))


def unpack_patches(x: Tensor) -> Tensor:
    """Depth to space and time as a permutation of eight dims."""
    batch, channels, frames, height, width = x.shape
    blocks = x.view(batch, channels // 8, 2, 2, 2, frames, height, width).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return blocks.reshape(batch, channels // 8, 2 * frames, 2 * height, 2 * width)


def align_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """The connectors' order of tokens: those that take part first, otherwise as they were."""
    order = torch.argsort(1 - mask, dim=1, stable=True)
    return torch.gather(hidden, 1, order[..., None].expand_as(hidden))


def count_tokens(mask: Tensor) -> Tensor:
    """Positions of the tokens that take part."""
    return (mask.cumsum(dim=-1) - 1).clamp(min=0)


def look_up(table: Tensor, tokens: Tensor) -> Tensor:
    """Rows of an embedding table."""
    return F.embedding(tokens, table)


def write_slices(x: Tensor, update: Tensor) -> Tensor:
    """In-place work on slices, strided halves and a diagonal, as the delta net and the key window do."""
    out = x.clone()
    out[1:3].add_(update[1:3])
    out[:, :, : x.shape[-1] // 2].mul_(2)
    out[3:, 5:9] = update[3:, 5:9]
    out.unflatten(-1, (2, -1)).unbind(-2)[1].copy_(update.unflatten(-1, (2, -1)).unbind(-2)[0])
    out.diagonal(dim1=-2, dim2=-1).add_(1)
    return out


def cast_strided(x: Tensor, y: Tensor) -> Tensor:
    """bfloat16 to float32 and back, of transposed tensors, and into a strided destination."""
    wide = torch.promote_types(x.dtype, torch.float32)
    out = torch.zeros((2, *y.shape), dtype=y.dtype, device=y.device)
    out[0].transpose(0, 1).copy_(x.transpose(0, 1).to(wide))
    out[1] = y.transpose(0, 1).contiguous().transpose(0, 1).to(x.dtype).to(wide)
    return out


def _draw_cast(draw: Draw) -> Inputs:
    # Numbers that bfloat16 holds, so that no cast rounds.
    return draw.normal(880, 20, 112), draw.normal(880, 20, 112).float()


CHECKS = (
    NumericsCheck(
        id="cat-strided",
        operation="cat of strided tensors along the last dim (all networks)",
        known_issue="outputs above 2^31 elements #189960, strided ones to torch 2.15 #189965",
        used=True,
        draw=lambda draw: (draw.normal(8, draw.size(2240, 64), 880),),
        compute=join_shifted,
        tolerance=EXACT,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="convolution-over-time",
        operation="cat of neighbouring frames, then addmm (Stage 1 feed-forward)",
        known_issue="the strided convolution upstream uses instead: #180984",
        used=True,
        draw=lambda draw: (draw.normal(5, 1, 220, 224), draw.normal(3 * 224, 224)),
        compute=filter_frames,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="permute-8d",
        operation="permutation of eight dims and copy (VAE, packing of latents)",
        known_issue="more than 16 dims are refused; none known below",
        used=True,
        draw=lambda draw: (draw.normal(1, 64, 3, 22, 40),),
        compute=unpack_patches,
        tolerance=EXACT,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="sort-gather",
        operation="stable argsort and gather (connectors)",
        known_issue="none",
        used=True,
        draw=lambda draw: (draw.normal(2, 1024, 384), draw.integers(2, 2, 1024)),
        compute=align_tokens,
        tolerance=EXACT,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="cumsum",
        operation="cumsum of int64 (token positions)",
        known_issue="none",
        used=True,
        draw=lambda draw: (draw.integers(2, 2, 1024),),
        compute=count_tokens,
        tolerance=EXACT,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="embedding",
        operation="rows of a table of 256000 (Gemma)",
        known_issue="tables above 2^31 elements give zeros: #188756",
        used=True,
        draw=lambda draw: (draw.normal(draw.size(256000, 8192), 64), draw.integers(draw.size(256000, 8192), 1, 1024)),
        compute=look_up,
        tolerance=EXACT,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="slices-in-place",
        operation="in-place work on slices, strided halves and diagonals (delta net, key window)",
        known_issue=STRIDED_WRITES,
        used=True,
        draw=lambda draw: (
            draw.normal(6, 112, 112, dtype=torch.float32),
            draw.normal(6, 112, 112, dtype=torch.float32),
        ),
        compute=write_slices,
        # Sums of two float32 numbers, rounded once.
        tolerance=1e-6,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="casts-strided",
        operation="casts between bfloat16 and float32 of transposed tensors, into strided memory",
        known_issue=STRIDED_WRITES,
        used=True,
        draw=_draw_cast,
        compute=cast_strided,
        tolerance=EXACT,
        advice=UPDATE,
    ),
)
