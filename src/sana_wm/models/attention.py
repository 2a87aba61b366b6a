"""Attention with a budget: a fused kernel where torch has one, otherwise exact blocks that never outgrow memory.

On MPS a head dim without a flash kernel makes torch write the whole score matrix: 97 GiB for head dim 112 at 321
frames, wrong without an error above 2^32 elements. Here such a head dim is padded to the next one that has a kernel,
and whatever no kernel takes is computed block by block with a running maximum and a running sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sana_wm.models.pacing import paced
from sana_wm.planning.kernels import KernelRules, kernel_rules

# A matmul whose inner dimension is 32767 or more reads past its operands on M1 and M2 (pytorch #177116, #195163).
MAX_KEY_BLOCK = 32766

_LOG2_E = 1.4426950408889634
# `_EXACT_SCALE * log2(e)` is 0.125, which bfloat16 holds exactly.
_EXACT_SCALE = 0.125 / _LOG2_E


@dataclass(frozen=True)
class AttentionBudget:
    """How large a score matrix may become.

    Attributes:
        max_score_elements: Elements of one block of scores. 2^30 keeps well clear of the 2^31 and 2^32 faults of MPS.
        max_score_bytes: Bytes of one block of scores, which are held in float32. 1 GiB is a quarter of 4 GiB,
            from where on tensors on MPS may abort and were never tried.
    """

    max_score_elements: int = 2**30
    max_score_bytes: int = 2**30

    @property
    def block_elements(self) -> int:
        """Elements that a block may have under both limits."""
        return max(1, min(self.max_score_elements, self.max_score_bytes // 4))


class Block(NamedTuple):
    """Sizes of one block of scores: heads, query rows, key columns."""

    heads: int
    queries: int
    keys: int


def plan_block(heads: int, queries: int, keys: int, budget: AttentionBudget) -> Block:
    """The largest block within the budget: keys first, then queries, then heads, as matmuls like it best."""
    elements = budget.block_elements
    key_block = min(keys, MAX_KEY_BLOCK, elements)
    query_block = max(1, min(queries, elements // key_block))
    head_block = max(1, min(heads, elements // (key_block * query_block)))
    return Block(head_block, query_block, key_block)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    scale: float | None = None,
    budget: AttentionBudget | None = None,
    rules: KernelRules | None = None,
) -> Tensor:
    """Softmax attention, exact at any length, within a memory budget.

    Args:
        query: (B, H, Lq, D), bfloat16, float16 or float32. May be float32 beside a half-precision key: it is then
            rounded once, after the scale has been folded in where the device needs that.
        key: (B, H, Lk, D).
        value: (B, H, Lk, D), the dtype of the key.
        mask: Broadcastable to (B, H, Lq, Lk); boolean (true: takes part) or additive. A row without any key gives 0.
        scale: Factor on the scores, `D**-0.5` when left out.
        budget: Limits for one block of scores; the defaults of `AttentionBudget` when left out.
        rules: Kernel rules of another device, to run its path here; those of the query's device when left out.

    Returns:
        (B, H, Lq, D) in the dtype of the value.

    Raises:
        ValueError: The shapes do not fit each other.

    Source: Rabe and Staats, arXiv 2112.05682 (blocks with a running maximum and sum); `scaled_dot_product_attention`.
    """
    _check_shapes(query, key, value)
    budget = budget or AttentionBudget()
    rules = rules or kernel_rules(query.device.type, torch.__version__)
    head_dim = query.shape[-1]
    scale = 1.0 / math.sqrt(head_dim) if scale is None else scale
    if mask is not None:
        # Four dims, as the fused kernels want, but not expanded: a boolean mask is copied in the shape that it has.
        mask = mask.reshape((1,) * (4 - mask.ndim) + tuple(mask.shape))

    kernel_dim = rules.kernel_head_dim(head_dim)
    if kernel_dim is not None:
        kernel_query, kernel_scale = _fold_scale(query, scale) if rules.fold_scale else (query, scale)
        q, k, v = (_pad_head_dim(x.to(value.dtype), kernel_dim) for x in (kernel_query, key, value))
        if _score_elements(query, key) <= budget.block_elements or _has_fused_kernel(q, k, v, mask):
            return _fused_attention(q, k, v, mask, kernel_scale, rules)[..., :head_dim]
    return blockwise_attention(query, key, value, mask=mask, scale=scale, budget=budget)


def blockwise_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None,
    scale: float,
    budget: AttentionBudget,
) -> Tensor:
    """Attention by blocks of queries and keys, all arithmetic in float32. Arguments as of `attention`."""
    batch, heads, queries, _ = query.shape
    keys = key.shape[2]
    block = plan_block(heads, queries, keys, budget)
    mask = None if mask is None else mask.expand(batch, heads, queries, keys)
    out = torch.empty((batch, heads, queries, value.shape[-1]), dtype=value.dtype, device=value.device)
    for b in range(batch):
        for head_range in paced(_ranges(heads, block.heads), query.device):
            for query_range in _ranges(queries, block.queries):
                rows = (b, head_range, query_range)
                scaled_query = query[rows].float() * scale
                row_mask = None if mask is None else mask[rows]
                out[rows] = _attend(scaled_query, key[b, head_range], value[b, head_range], row_mask, block.keys)
    return out


def _attend(scaled_query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, key_block: int) -> Tensor:
    """One block of query rows (h, q, D) against all keys (h, Lk, D): running maximum, running sum, running output."""
    heads, rows, _ = scaled_query.shape
    maximum = scaled_query.new_full((heads, rows, 1), float("-inf"))
    total = scaled_query.new_zeros((heads, rows, 1))
    out = scaled_query.new_zeros((heads, rows, value.shape[-1]))
    for key_range in _ranges(key.shape[1], key_block):
        scores = scaled_query @ key[:, key_range].float().transpose(-1, -2)
        if mask is not None:
            part = mask[..., key_range]
            scores = scores.masked_fill_(~part, float("-inf")) if part.dtype == torch.bool else scores.add_(part)
        new_maximum = torch.maximum(maximum, scores.amax(-1, keepdim=True))
        # Rows that saw no key so far have maximum -inf; 0 in its place keeps -inf - -inf, which is NaN, from arising.
        pivot = new_maximum.masked_fill(new_maximum == float("-inf"), 0.0)
        weights = scores.sub_(pivot).exp_()
        decay = (maximum - pivot).exp_()
        total = total * decay + weights.sum(-1, keepdim=True)
        out = out.mul_(decay).baddbmm_(weights, value[:, key_range].float())
        maximum = new_maximum
    return out / total.masked_fill(total == 0, 1.0)


def _fused_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, rules: KernelRules
) -> Tensor:
    """The kernel, called for as many query rows at a time as the device may work on without a break."""
    batch, heads, queries, head_dim = query.shape
    rows = rules.query_rows(batch * heads, queries, key.shape[2], head_dim)
    if rows >= queries:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    out = torch.empty_like(query)
    for part in paced(_ranges(queries, rows), query.device):
        row_mask = mask if mask is None or mask.shape[2] == 1 else mask[:, :, part]
        out[:, :, part] = F.scaled_dot_product_attention(query[:, :, part], key, value, attn_mask=row_mask, scale=scale)
    return out


def _has_fused_kernel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    """Whether torch computes these operands without writing the score matrix."""
    device_type = query.device.type
    if device_type == "cuda":
        cuda = torch.backends.cuda
        params = cuda.SDPAParams(query, key, value, mask, 0.0, False, False)
        return (
            cuda.can_use_flash_attention(params)
            or cuda.can_use_efficient_attention(params)
            or cuda.can_use_cudnn_attention(params)
        )
    mask_fits = mask is None or mask.dtype in (torch.bool, query.dtype)
    unit_stride = all(x.stride(-1) == 1 for x in (query, key, value))
    return device_type in ("cpu", "mps") and mask_fits and unit_stride


def _fold_scale(query: Tensor, scale: float) -> tuple[Tensor, float]:
    """Multiply the scale into the query in float32 and leave a factor that the kernel holds exactly."""
    return query.float() * (scale / _EXACT_SCALE), _EXACT_SCALE


def _pad_head_dim(x: Tensor, head_dim: int) -> Tensor:
    """Widen (B, H, L, D) to `head_dim` with zeros, by copy: `F.pad` goes through MPSGraph before torch 2.15."""
    if x.shape[-1] == head_dim:
        return x
    wide = x.new_zeros((*x.shape[:-1], head_dim))
    wide[..., : x.shape[-1]] = x
    return wide


def _score_elements(query: Tensor, key: Tensor) -> int:
    batch, heads, queries, _ = query.shape
    return batch * heads * queries * key.shape[2]


def _ranges(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _check_shapes(query: Tensor, key: Tensor, value: Tensor) -> None:
    shapes = f"got query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ValueError(f"attention needs (B, H, L, D) tensors; {shapes}")
    if key.shape[:3] != value.shape[:3] or query.shape[:2] != key.shape[:2] or query.shape[3] != key.shape[3]:
        raise ValueError(f"attention operands do not fit each other; {shapes}")
