"""The gated feed-forward: an inverted bottleneck with a 3x3 depthwise convolution, then a convolution over time.

Frames are independent up to the temporal convolution, so the six-fold wide part runs on a few frames at a time.
"""

from __future__ import annotations

from typing import cast

import torch
from diffusers.models.transformers.transformer_sana_wm import GLUMBConvTemp
from torch import Tensor
from torch.nn import functional as F


def spatial_feed_forward(x: Tensor, mlp: GLUMBConvTemp, height: int, width: int, out: Tensor) -> None:
    """Widen, mix with the neighbours in the frame, gate, narrow.

    Args:
        x: (n, S, C), contiguous; n frames of S = height * width tokens.
        mlp: The block's module.
        height: Rows of tokens.
        width: Columns of tokens.
        out: (n, S, C), contiguous; receives the result.
    """
    # Value and gate apart from the start: a half of a wider tensor is strided, and passes over it are slow.
    half = mlp.point_conv.conv.in_channels
    gate = F.silu(_widen(x, mlp, slice(half, 2 * half), height, width), inplace=True)
    value = _widen(x, mlp, slice(0, half), height, width).mul_(gate)
    torch.mm(value.flatten(0, 2), mlp.point_conv.conv.weight.flatten(1).t(), out=out.flatten(0, 1))


def _widen(x: Tensor, mlp: GLUMBConvTemp, channels: slice, height: int, width: int) -> Tensor:
    """Some channels of the wide part, (n, height, width, channels)."""
    inverted, depthwise = mlp.inverted_conv.conv, mlp.depth_conv.conv
    inverted_bias, depthwise_bias = cast(Tensor, inverted.bias)[channels], cast(Tensor, depthwise.bias)[channels]
    wide = F.silu(F.linear(x, inverted.weight[channels].flatten(1), inverted_bias), inplace=True)
    # A view, not a copy: tokens outside and channels inside is what torch calls channels_last.
    grid = wide.unflatten(1, (height, width)).permute(0, 3, 1, 2)
    taps = depthwise.weight[channels]
    mixed = F.conv2d(grid, taps, padding=depthwise.padding, groups=len(taps)).permute(0, 2, 3, 1)
    # cuDNN has no bias of its own: torch would add it in a broadcasting pass, at half the speed of one on equal shapes.
    bias = depthwise_bias.expand(mixed.shape[1:]).contiguous()
    for frame in mixed:
        frame.add_(bias)
    return mixed


def arrange_temporal_weight(mlp: GLUMBConvTemp) -> None:
    """Lay the temporal convolution's weight out as `temporal_weight` reads it; its shape and numbers stay.

    Otherwise every pass would copy it: on an H200 a twenty-fifth of a pass over three frames.
    """
    weight = mlp.t_conv.weight
    weight.data = weight.data.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)


def temporal_weight(mlp: GLUMBConvTemp) -> Tensor:
    """The temporal convolution as one matrix (taps * C, C); a view after `arrange_temporal_weight`."""
    return mlp.t_conv.weight.flatten(2).permute(2, 1, 0).flatten(0, 1)


def temporal_feed_forward(x: Tensor, weight: Tensor, frames: slice) -> Tensor:
    """Add to each frame the temporal convolution of its neighbourhood.

    Args:
        x: (T + 2 m, B, S, C) with m zero frames on either side, m half the kernel.
        weight: From `temporal_weight`.
        frames: Which of the T frames.

    Returns:
        (frames, B, S, C).
    """
    taps = len(weight) // x.shape[-1]
    reach, start, stop = taps // 2, frames.start, frames.stop
    centre = x[start + reach : stop + reach]
    window = torch.cat([x[start + offset : stop + offset] for offset in range(taps)], dim=-1)
    return torch.addmm(centre.flatten(0, 2), window.flatten(0, 2), weight).view_as(centre)
