"""What the transformer does between its matrix products: normalise, modulate, rotate, add through a gate.

Op by op everywhere. On CUDA, where these take a quarter of a pass, `torch.compile` made a refinement a tenth faster
(reports/bench/refiner.md); for MPS it is not trusted (pytorch #191976, #170360: results wrong without an error), and
there matrix products take so much longer that it would not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sana_wm.models.refiner.rope import RotaryTable


@dataclass(frozen=True)
class Norm:
    """An RMS norm over channels: its weight (C,), where it has one, and its epsilon."""

    weight: Tensor | None
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise x (..., C)."""
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Rotate the channel pairs of x (B, N, H, D) in float32; cos and sin are (1, N, H, D/2)."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1) if interleaved else x.unflatten(-1, (2, -1)).unbind(-2)
    real, imaginary = first.float(), second.float()
    pair = (
        torch.addcmul(real * cos, imaginary, sin, value=-1).to(x.dtype),
        torch.addcmul(imaginary * cos, real, sin).to(x.dtype),
    )
    return torch.stack(pair, dim=-1).flatten(-2) if interleaved else torch.cat(pair, dim=-1)


def norm_and_rotate(x: Tensor, norm: Norm, table: RotaryTable) -> Tensor:
    """Normalise x (B, N, C) and rotate its heads: (B, N, H, D)."""
    return rotate(norm(x).unflatten(-1, (table.cos.shape[2], -1)), table.cos, table.sin, table.interleaved)


def norm_and_modulate(x: Tensor, norm: Norm, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalise x (B, N, C), then scale and shift, each (B, 1, C)."""
    return torch.addcmul(shift, norm(x), 1 + scale)


def add_and_modulate(x: Tensor, update: Tensor, norm: Norm, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Add update to x, (B, N, C) each; returns the sum, and that normalised and modulated."""
    total = x + update
    return total, norm_and_modulate(total, norm, shift, scale)


def add_gated(x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    """Add update through a gate (B, 1, C) to x (B, N, C)."""
    return torch.addcmul(x, update, gate)


def add_gated_and_norm(x: Tensor, update: Tensor, gate: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
    """The gated sum (B, N, C), and that normalised."""
    total = add_gated(x, update, gate)
    return total, norm(total)
