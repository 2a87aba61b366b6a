"""`timm`: three small modules, so that neither it nor torchvision has to be installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Mlp(nn.Module):
    """Two linear layers with an activation between them; parameters named as in timm."""

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None = None,
        out_features: int | None = None,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        bias: bool = True,
        drop: float = 0.0,
        **_: Any,
    ) -> None:
        super().__init__()
        if drop:
            raise ValueError("dropout is for training, which this stand-in does not do")
        width = hidden_features or in_features
        self.fc1 = nn.Linear(in_features, width, bias=bias)
        self.act = act_layer()
        self.fc2 = nn.Linear(width, out_features or in_features, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return self.fc2(self.act(self.fc1(x)))


class Attention(nn.Module):
    """The parameters of multi-head attention. Upstream's classes derive from it and compute on their own."""

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = False, **_: Any) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn_drop = nn.Identity()
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Identity()


class DropPath(nn.Module):
    """Stochastic depth, which inference does not have: the identity."""

    def __init__(self, drop_prob: float = 0.0, **_: Any) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """`x` as it is."""
        if self.training and self.drop_prob:
            raise RuntimeError("stochastic depth is for training, which this stand-in does not do")
        return x
