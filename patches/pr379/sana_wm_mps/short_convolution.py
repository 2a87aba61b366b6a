"""The causal depthwise convolution over time, as shifted multiply-adds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sana_wm_mps.chunks import chunks


class ShortConvolution(nn.Module):
    """`y[t] = sum over j of w[j] x[t - (k - 1) + j]`, each channel by itself; in place of fla's Triton module.

    Args:
        hidden_size: Channels C.
        kernel_size: Taps k; `weight` is (C, 1, k), as in the checkpoint.
    """

    def __init__(
        self, hidden_size: int, kernel_size: int, bias: bool = False, activation: str | None = None, **_: Any
    ) -> None:
        super().__init__()
        if bias or activation is not None:
            raise ValueError("SANA-WM's short convolution has neither bias nor activation")
        self.weight = nn.Parameter(torch.zeros(hidden_size, 1, kernel_size))
        self.register_parameter("bias", None)

    def forward(self, x: Tensor, **_: Any) -> tuple[Tensor, None]:
        """(B, T, C) -> ((B, T, C), None), summed in float32."""
        taps = self.weight[:, 0].float().unbind(-1)
        out = torch.empty_like(x)
        for rows in chunks(len(x), x[0].numel()):
            part = x[rows].float()
            total = part * taps[-1]
            for distance, tap in enumerate(reversed(taps[:-1]), start=1):
                total[:, distance:].addcmul_(part[:, : x.shape[1] - distance], tap)
            out[rows] = total
        return out, None
