"""The symmetric short convolution over time as shifted multiply-adds on frames that lie one after the other."""

from __future__ import annotations

import torch
from diffusers.models.transformers.transformer_sana_wm import SanaWMTemporalShortConvolution
from torch import Tensor


def reach_of(convolution: SanaWMTemporalShortConvolution) -> int:
    """How many frames the filter looks to either side."""
    return int(convolution.kernel_size) - 1


def convolve_frames(x: Tensor, convolution: SanaWMTemporalShortConvolution, frames: slice) -> Tensor:
    """Filter some frames.

    A causal filter run forwards and backwards with its centre counted once is a symmetric one:
    `y[t] = w[k-1] x[t] + sum over j of w[k-1-j] (x[t-j] + x[t+j])`.

    Args:
        x: (T + 2 reach, B, S, C) with `reach` zero frames on either side.
        convolution: The module with its (C, 1, k) weight.
        frames: Which of the T frames.

    Returns:
        (frames, B, S, C).

    Source: diffusers `SanaWMTemporalShortConvolution`.
    """
    reach = reach_of(convolution)
    # Taps as large as a frame: a pass over equal shapes runs at twice the speed of one that broadcasts (H200).
    taps = [tap.expand(x.shape[1:]).contiguous() for tap in convolution.weight[:, 0].unbind(-1)]
    out = x.new_empty((frames.stop - frames.start, *x.shape[1:]))
    for index, centre in enumerate(range(frames.start + reach, frames.stop + reach)):
        frame = torch.mul(x[centre], taps[reach], out=out[index])
        for distance in range(1, reach + 1):
            frame.addcmul_(x[centre - distance] + x[centre + distance], taps[reach - distance])
    return out
