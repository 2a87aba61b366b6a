"""Matrix products: very many inputs, and the delta rule's small float32 ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sana_wm.diagnostics.numerics.check import (
    BFLOAT16_TOLERANCE,
    FLOAT32_TOLERANCE,
    Draw,
    Inputs,
    NumericsCheck,
)
from sana_wm.diagnostics.numerics.checks.advice import UNUSED, UPDATE
from sana_wm.models.refiner.text import SplitLinear
from sana_wm.models.stage1.delta_rule import cross, gram, read, scan, store_transition

LARGE_K = "K >= 32767 reads past the operands on M1 and M2: #177116, #195163"

# 49 hidden states of 3840 channels; M and N above 16, below which the fault does not show.
TEXT_CHANNELS = 188160
# 41 latent frames of 22x40 tokens.
TOKENS = 36080


def split_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The refiner's text projection as `connect` computes it."""
    linear = nn.Linear(1, 1, device="meta")
    linear.weight, linear.bias = (nn.Parameter(part, requires_grad=False) for part in (weight, bias))
    return SplitLinear(linear)(x)


def products_of_a_frame(keys: Tensor, values: Tensor) -> Tensor:
    """The delta rule's three products, (n, S, D) each: the queries read what keys and values wrote."""
    decay = torch.full(keys.shape[:1], 0.9, dtype=torch.float32, device=keys.device)
    transitions = torch.empty((len(keys), keys.shape[2], keys.shape[2]), dtype=torch.float32, device=keys.device)
    store_transition(gram(keys[:, None])[:, 0], decay / keys.shape[1], decay, transitions)
    states = torch.bmm(transitions, cross(keys[:, None], values[:, None])[:, 0])
    return read(keys[:, None], states[:, None].to(keys.dtype))[:, 0]


def exact_products_of_a_frame(keys: Tensor, values: Tensor) -> Tensor:
    """The same from the formula `Q (g (I - w K'K)) K'V`."""
    eye = torch.eye(keys.shape[2], dtype=keys.dtype)
    transitions = 0.9 * (eye - 0.9 / keys.shape[1] * torch.einsum("nsd,nse->nde", keys, keys))
    return keys @ (transitions @ torch.einsum("nsd,nse->nde", keys, values))


def scan_a_copy(transitions: Tensor, updates: Tensor) -> Tensor:
    """The recurrence, which overwrites its updates."""
    return scan(transitions, updates.clone())


def product_into_place(x: Tensor, weight: Tensor) -> Tensor:
    """`mm` into the rows of a larger tensor, as the feed-forward narrows."""
    out = x.new_zeros((2, x.shape[0], weight.shape[0]))
    torch.mm(x, weight.t(), out=out[1])
    return out


def _draw_linear(draw: Draw) -> Inputs:
    return draw.normal(32, TEXT_CHANNELS), draw.normal(64, TEXT_CHANNELS), draw.normal(64)


def _draw_scan(draw: Draw) -> Inputs:
    frames, heads, channels = 6, draw.size(40, 4), 112
    transitions = draw.normal(frames, heads, channels, channels, dtype=torch.float32) / (2 * channels**0.5)
    return transitions, draw.normal(frames, heads, channels, channels, dtype=torch.float32)


CHECKS = (
    NumericsCheck(
        id="linear-188160-split",
        operation="linear with 188160 inputs in parts below 32767 (the refiner's text projection)",
        known_issue=LARGE_K,
        used=True,
        draw=_draw_linear,
        compute=split_linear,
        reference=F.linear,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="linear-188160",
        operation="linear with 188160 inputs in one call",
        known_issue=f"{LARGE_K}; fixed in torch 2.14 by #183535",
        used=False,
        draw=_draw_linear,
        compute=F.linear,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UNUSED,
    ),
    NumericsCheck(
        id="linear-32767",
        operation="linear with 32767 inputs",
        known_issue=f"{LARGE_K}; #183535 left 32767 and 32768 wrong",
        used=False,
        draw=lambda draw: (draw.normal(32, 32767), draw.normal(64, 32767)),
        compute=F.linear,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UNUSED,
    ),
    NumericsCheck(
        id="bmm-36080",
        operation="bmm over 36080 terms, as attention by hand would call it",
        known_issue=f"{LARGE_K}; open in torch 2.15 (#195012)",
        used=False,
        draw=lambda draw: (draw.normal(2, 64, TOKENS), draw.normal(2, TOKENS, 64)),
        compute=torch.bmm,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UNUSED,
    ),
    NumericsCheck(
        id="delta-rule-products",
        operation="bmm of transposed views with float32 results, diagonal added in place (Stage 1 delta net)",
        known_issue="bmm faults #195163, #197636; strided writes #182052",
        used=True,
        draw=lambda draw: (draw.normal(draw.size(40, 4), 880, 112), draw.normal(draw.size(40, 4), 880, 112)),
        compute=products_of_a_frame,
        reference=exact_products_of_a_frame,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="delta-rule-scan",
        operation="baddbmm in place on slices, float32 (Stage 1 delta net)",
        known_issue="bmm faults #195163, #197636",
        used=True,
        draw=_draw_scan,
        compute=scan_a_copy,
        tolerance=FLOAT32_TOLERANCE,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="mm-into-slice",
        operation="1x1 convolution as mm with `out` (Stage 1 feed-forward)",
        known_issue="large-K faults #177116; strided writes #182052",
        used=True,
        draw=lambda draw: (draw.normal(880, draw.size(6720, 1120)), draw.normal(256, draw.size(6720, 1120))),
        compute=product_into_place,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
)
