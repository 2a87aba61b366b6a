"""Norms, activations, reductions and complex numbers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sana_wm.diagnostics.numerics.check import BFLOAT16_TOLERANCE, FLOAT32_TOLERANCE, NumericsCheck
from sana_wm.diagnostics.numerics.checks.advice import UNUSED, UPDATE

CONJUGATES = "conjugate views in products ignore the conjugation: #177474, #191835"


def fused_rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """RMS norm with a weight in the dtype of x, one kernel."""
    return F.rms_norm(x, weight.shape, weight, 1e-6)


def layer_norm(x: Tensor) -> Tensor:
    """Without weight and bias."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def modulated_layer_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """With weight and bias in the dtype of x, as Stage 1 modulates."""
    return F.layer_norm(x, scale.shape, scale, shift, eps=1e-6)


def activations(x: Tensor) -> Tensor:
    """Every activation of the networks, side by side."""
    return torch.cat(
        [
            F.silu(x),
            F.gelu(x, approximate="tanh"),
            F.softplus(x.float() if x.dtype == torch.bfloat16 else x).to(x.dtype),
            torch.sigmoid(x),
            torch.tanh(x),
            F.relu(x),
        ]
    )


def channel_rms(frames: Tensor) -> Tensor:
    """RMS over the channels of (n, C, H, W), then SiLU: the VAE's norm."""
    rms = frames.square().mean(1, keepdim=True).add_(1e-6).sqrt_()
    return F.silu(frames / rms, inplace=True)


def reductions(x: Tensor) -> Tensor:
    """Mean square, largest, smallest and sum along an inner dim of a strided tensor, all of the same magnitude."""
    strided = x.transpose(1, 2)
    total = strided.sum(1) / strided.shape[1] ** 0.5
    return torch.stack([strided.square().mean(1), strided.amax(1), strided.amin(1), total])


def complex_product(x: Tensor, y: Tensor) -> Tensor:
    """Elementwise product with a conjugate."""
    return torch.view_as_real(torch.view_as_complex(x) * torch.view_as_complex(y).conj())


def complex_bmm(x: Tensor, y: Tensor) -> Tensor:
    """Matrix product with a conjugate view."""
    return torch.view_as_real(torch.bmm(torch.view_as_complex(x), torch.view_as_complex(y).conj()))


CHECKS = (
    NumericsCheck(
        id="rms-norm-weight",
        operation="fused RMS norm with a weight (queries and keys of Stage 1 and refiner)",
        known_issue="#189617: multiplies the weight in bfloat16 (torch 2.13), one rounding more",
        used=True,
        draw=lambda draw: (draw.normal(880, 2240), draw.normal(2240)),
        compute=fused_rms_norm,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="layer-norm",
        operation="layer norm without weight and bias (refiner)",
        known_issue="slices wrong before torch 2.5: #131750",
        used=True,
        draw=lambda draw: (draw.normal(4, 880, 2240)[1],),
        compute=layer_norm,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="layer-norm-modulated",
        operation="layer norm with weight and bias of the input's dtype (Stage 1 modulation)",
        known_issue="#190054, which needs mixed dtypes: avoided",
        used=True,
        draw=lambda draw: (draw.normal(880, 2240), draw.normal(2240), draw.normal(2240)),
        compute=modulated_layer_norm,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="layer-norm-mixed",
        operation="layer norm of bfloat16 with float32 weight and bias",
        known_issue="#190054: reads the weight's bits as bfloat16 (torch 2.13); CUDA refuses",
        used=False,
        draw=lambda draw: (
            draw.normal(880, 2240),
            draw.normal(2240, dtype=torch.float32),
            draw.normal(2240, dtype=torch.float32),
        ),
        compute=modulated_layer_norm,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UNUSED,
    ),
    NumericsCheck(
        id="activations",
        operation="SiLU, GELU, softplus, sigmoid, tanh, ReLU (all networks)",
        known_issue="none",
        used=True,
        draw=lambda draw: (draw.normal(880, 1120),),
        compute=activations,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="channel-rms",
        operation="RMS over channels and SiLU, partly in place (VAE decode)",
        known_issue="in-place operations on strided memory: #182052",
        used=True,
        draw=lambda draw: (draw.normal(3, 128, 44, 80),),
        compute=channel_rms,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="reductions",
        operation="mean, amax, amin and sum along an inner dim (Stage 1 gates, prompt packing)",
        known_issue="none",
        used=True,
        draw=lambda draw: (draw.normal(4, 880, 112),),
        compute=reductions,
        tolerance=BFLOAT16_TOLERANCE,
        advice=UPDATE,
    ),
    NumericsCheck(
        id="complex-product",
        operation="elementwise complex product with a conjugate",
        known_issue="right where it was tried; sana-wm rotates with real numbers",
        used=False,
        draw=lambda draw: (
            draw.normal(880, 56, 2, dtype=torch.float32),
            draw.normal(880, 56, 2, dtype=torch.float32),
        ),
        compute=complex_product,
        tolerance=FLOAT32_TOLERANCE,
        advice=UNUSED,
    ),
    NumericsCheck(
        id="complex-bmm",
        operation="bmm with a conjugate view",
        known_issue=CONJUGATES,
        used=False,
        draw=lambda draw: (
            draw.normal(2, 64, 56, 2, dtype=torch.float32),
            draw.normal(2, 56, 64, 2, dtype=torch.float32),
        ),
        compute=complex_bmm,
        tolerance=FLOAT32_TOLERANCE,
        advice=UNUSED,
    ),
)
