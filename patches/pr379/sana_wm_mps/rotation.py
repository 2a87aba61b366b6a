"""Rotary position embedding in real float32 arithmetic: MPS has neither float64 nor, for certain, complex numbers.

Upstream's complex table stays on the CPU as complex64; only its real and imaginary parts ever reach the device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sana_wm_mps.chunks import chunks


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate interleaved pairs: (a, b) -> (a cos - b sin, a sin + b cos).

    Args:
        x: (..., D).
        cos: Broadcastable to (..., D/2), float32.
        sin: The same.

    Returns:
        (..., D) float32.
    """
    first, second = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)


def angles(table: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine, each (N, D/2) float32 on a device, of a complex table (1, 1, N, D/2)."""
    flat = table.reshape(table.shape[-2:])
    return flat.real.float().contiguous().to(device), flat.imag.float().contiguous().to(device)


def apply_complex_rope(hidden_states: Tensor, freqs: Tensor, inverse: bool = False) -> Tensor:
    """Rotate (B, H, N, D) by a complex table (1, 1, N, D/2), forwards or back; the result has the dtype of the input.

    In place of `sana_camctrl_blocks._apply_complex_rope`.
    """
    cos, sin = angles(freqs, hidden_states.device)
    sin = -sin if inverse else sin
    out = torch.empty(hidden_states.shape, dtype=hidden_states.dtype, device=hidden_states.device)
    for heads in chunks(hidden_states.shape[1], hidden_states[:, 0].numel()):
        out[:, heads] = rotate_pairs(hidden_states[:, heads], cos, sin)
    return out


def apply_rotary_emb(hidden_states: Tensor, freqs: Tensor) -> Tensor:
    """The same for (B, H, D, N), in place of `sana_gdn_blocks._apply_rotary_emb`."""
    return apply_complex_rope(hidden_states.transpose(-1, -2), freqs).transpose(-1, -2)


def apply_ray_projmat(feats: Tensor, matrix: Tensor) -> Tensor:
    """Multiply each 4-vector of (B, H, N, 4 n) by its token's (B, N, 4, 4) matrix, in float32.

    In place of `sana_camctrl_blocks._apply_ray_projmat`, whose einsum is a batched product of N 4x4 matrices in the
    dtype of the features. Here the matrices stay float32 beside bfloat16 features.
    """
    columns = matrix.float()[:, None, :, None].unbind(-1)
    out = torch.empty(feats.shape, dtype=feats.dtype, device=feats.device)
    for heads in chunks(feats.shape[1], feats[:, 0].numel()):
        out[:, heads] = multiply_vectors(feats[:, heads], columns)
    return out


def multiply_vectors(x: Tensor, columns: tuple[Tensor, ...]) -> Tensor:
    """`M v` for every 4-vector v of `x` (..., 4 n): the matrices' columns weighted by the vector's components.

    Args:
        x: (..., 4 n).
        columns: Four tensors broadcastable to (..., n, 4), float32.

    Returns:
        (..., 4 n) float32.
    """
    vectors = x.float().unflatten(-1, (-1, 4))
    out = vectors[..., :1] * columns[0]
    for index in range(1, 4):
        out.addcmul_(vectors[..., index : index + 1], columns[index])
    return out.flatten(-2)


def rotary_forward(rope: Any, fhw: tuple[int, int, int], device: torch.device) -> Tensor:
    """Upstream's table (1, 1, T H W, D/2), made and kept on the CPU and rounded to complex64.

    In place of `WanRotaryPosEmbed.forward`, which moves a complex128 table to the device.
    """
    del device
    frames, height, width = fhw
    half = rope.attention_head_dim // 2
    axis = rope.attention_head_dim // 6
    time, rows, columns = rope.freqs.to("cpu").split_with_sizes([half - 2 * axis, axis, axis], dim=1)
    grid = (frames, height, width)
    table = torch.cat(
        (
            time[:frames, None, None].expand(*grid, -1),
            rows[None, :height, None].expand(*grid, -1),
            columns[None, None, :width].expand(*grid, -1),
        ),
        dim=-1,
    )
    return table.reshape(1, 1, frames * height * width, half).to(torch.complex64)
