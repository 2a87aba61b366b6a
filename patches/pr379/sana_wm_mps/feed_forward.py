"""Upstream's feed-forward and patch embedding, without the convolutions that MPS computes slowly or wrongly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sana_wm_mps.chunks import chunks


def forward_glumbconv_temp(block: Any, x: Tensor, HW: tuple[int, int, int], **_: Any) -> Tensor:
    """The feed-forward with its convolution over time, (B, N, C) -> (B, N, C); in place of `GLUMBConvTemp.forward`.

    The six-fold wide spatial part is upstream's, a few frames at a time and from contiguous memory; the convolution
    over time, which has no bias and kernel (k, 1), is k matrix products.
    """
    frames, height, width = HW
    batch, _, channels = x.shape
    wide = block.inverted_conv.conv.out_channels
    tokens = x.reshape(batch * frames, height, width, channels)
    spatial = torch.empty_like(tokens)
    for part in chunks(len(tokens), wide * height * width):
        pictures = tokens[part].permute(0, 3, 1, 2).contiguous()
        spatial[part] = block._apply_spatial(pictures).permute(0, 2, 3, 1)
    spatial = spatial.view(batch, frames, height * width, channels)

    taps = [tap.contiguous() for tap in block.t_conv.weight[..., 0].unbind(-1)]
    reach = len(taps) // 2
    out = spatial.clone()
    for index, tap in enumerate(taps):
        shift = index - reach
        to = slice(max(0, -shift), frames - max(0, shift))
        of = slice(max(0, shift), frames + min(0, shift))
        for item in range(batch):
            for part in chunks(to.stop - to.start, height * width * channels):
                source = spatial[item, of][part]
                out[item, to][part] += F.linear(source, tap)
    return out.view(x.shape)


def forward_patch_embed(block: Any, x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (B, N, hidden); in place of `PatchEmbedMS3D.forward`.

    With patches of one, as SANA-WM has them, the three-dimensional convolution is a linear layer.
    """
    convolution = block.proj
    if tuple(convolution.kernel_size) != (1, 1, 1) or tuple(convolution.padding) != (0, 0, 0) or not block.flatten:
        raise NotImplementedError(f"patches of {tuple(convolution.kernel_size)}; SANA-WM's are of one latent")
    weight = convolution.weight.flatten(1)
    return block.norm(F.linear(x.flatten(2).transpose(1, 2).contiguous(), weight, convolution.bias))
