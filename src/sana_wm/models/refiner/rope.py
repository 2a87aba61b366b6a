"""Rotary tables of the refiner: angles on the CPU in float64, cosines and sines on the device as real float32 numbers.

The frequencies reach 15,708 rad, where float32 is off by 1e-3, and MPS has no float64. Each channel turns with one axis
only, so the CPU computes one row per frame, line and column, and the device spreads those 65 rows over its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class RotaryTable:
    """Cosines and sines for some tokens, one per rotated pair of channels.

    Attributes:
        cos: (1, N, H, D/2) float32.
        sin: (1, N, H, D/2) float32.
        interleaved: Whether the members of a pair lie side by side in a head; otherwise in its two halves.
    """

    cos: Tensor
    sin: Tensor
    interleaved: bool


def build_rotary_table(
    transformer: Any, frame_positions: Sequence[int], height: int, width: int, fps: float, device: torch.device
) -> RotaryTable:
    """The table for whole latent frames at absolute positions in the video.

    Args:
        transformer: `SanaWMLTX2RefinerTransformer3DModel`, whose `rope` defines the angles.
        frame_positions: Absolute latent-frame numbers; a shifted sink may lie at any of them.
        height: Latent height.
        width: Latent width.
        fps: Frames of video per second.
        device: Where the table is needed.

    Source: Su et al., arXiv 2104.09864; diffusers `models/transformers/transformer_sana_wm_refiner.py`.
    """
    rope = transformer.rope
    axes = (frame_positions, range(height), range(width))
    rows = max(len(axis) for axis in axes)
    positions = torch.tensor([[*axis, *[axis[-1]] * (rows - len(axis))] for axis in axes], dtype=torch.float32)
    coordinates = torch.stack([positions, positions + 1], dim=-1) * torch.tensor(rope.scale_factors).view(3, 1, 1)
    # The VAE's first latent frame is one video frame, every other one eight.
    seconds = (coordinates[0] + rope.causal_offset - rope.scale_factors[0]).clamp(min=0) / fps
    coordinates[0] = seconds
    tables = rope(coordinates[None], device=torch.device("cpu"))

    heads: int = rope.num_attention_heads
    if rope.rope_type == "interleaved":
        # (1, rows, H*D) with each angle twice, side by side.
        by_row = [table[0, :, ::2] for table in tables]
    else:
        by_row = [table[0].transpose(0, 1).flatten(1) for table in tables]
    channels = torch.arange(by_row[0].shape[1])
    # Channels take turns over the axes; what does not divide by three stands unrotated at the front.
    channel_axis = ((channels - len(channels) % 3) % 3).to(device)
    cos, sin = (
        _spread(table.float().to(device), channel_axis, (len(frame_positions), height, width), heads)
        for table in by_row
    )
    return RotaryTable(cos, sin, rope.rope_type == "interleaved")


def _spread(rows: Tensor, channel_axis: Tensor, sizes: tuple[int, int, int], heads: int) -> Tensor:
    """Rows of angles (R, C) to all tokens of a grid: (1, F*h*w, H, C/H)."""
    frames, height, width = sizes
    by_frame, by_line, by_column = (rows[:size] for size in sizes)
    grid = torch.where(channel_axis == 1, by_line[:, None], by_column)
    grid = torch.where(channel_axis == 0, by_frame[:, None, None], grid)
    return grid.view(1, frames * height * width, heads, -1)
