"""Linear layers whose weights are bytes: unpacked into a buffer that all of them share, then a dense product.

No kernel for 8-bit products is needed, which MPS lacks: unpacking is a copy and a product by elements, and what
follows is the product of the stored weights. So the result is exactly that of a network of the unpacked weights.

torchao is not used: its int8 weights want kernels of their own or `torch.compile`, on MPS there are some for groups of
1 to 4 bits only, and it loads through subclasses of tensors that can neither be streamed into a slot nor written as
plain safetensors (docs/int8.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sana_wm.weights.int8 import int8_rule, scale_of
from sana_wm.weights.layout import Component
from sana_wm.weights.stored import read_stored_weights


def unpack(weight: Tensor, scale: Tensor, into: Tensor) -> Tensor:
    """Write the matrix of bytes (out, in) and scales (out, groups) into a buffer of its shape; returns the buffer."""
    into.copy_(weight)
    into.unflatten(1, (scale.shape[1], -1)).mul_(scale.unsqueeze(-1))
    return into


class UnpackBuffer:
    """Memory for one unpacked matrix at a time, as large as the largest that was asked for."""

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def take(self, shape: torch.Size, like: Tensor) -> Tensor:
        """A matrix of a shape, of the dtype and on the device of `like`; what was taken before is overwritten."""
        elements = shape.numel()
        if self._memory is None or self._memory.numel() < elements:
            self._memory = None  # before the larger one: not both at once
            self._memory = torch.empty(elements, dtype=like.dtype, device=like.device)
        return self._memory[:elements].view(shape)


class Int8Linear(nn.Module):
    """A linear layer that holds its matrix as bytes.

    Args:
        linear: The layer whose place it takes; its bias stays.
        scale_groups: Groups of a row.
        buffer: Shared by all layers of a network.
    """

    def __init__(self, linear: nn.Linear, scale_groups: int, buffer: UnpackBuffer) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        shape, device = linear.weight.shape, linear.weight.device
        self.weight = _frozen(torch.empty(shape, dtype=torch.int8, device=device))
        self.weight_scale = _frozen(torch.empty((shape[0], scale_groups), dtype=torch.bfloat16, device=device))
        self.bias = linear.bias
        self._buffer = buffer

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out) in the dtype of x, which is that of the scales."""
        return F.linear(x, self.unpacked(), self.bias)

    def unpacked(self) -> Tensor:
        """The matrix (out, in), valid until another layer of the network unpacks."""
        return unpack(self.weight, self.weight_scale, self._buffer.take(self.weight.shape, self.weight_scale))


def hold_as_stored(network: nn.Module, component: Component) -> None:
    """Make the linear layers of an empty network hold bytes where its files do.

    Raises:
        WeightsError: A file is missing or damaged.
    """
    if component.name in int8_rule().stays:
        use_int8_linears(network, read_stored_weights(component).tensors)


def use_int8_linears(network: nn.Module, stored: Iterable[str]) -> None:
    """Replace the linear layers whose scales are among the stored names by layers of bytes."""
    names, buffer = set(stored), UnpackBuffer()
    layers: Mapping[str, nn.Module] = dict(network.named_modules())
    for name, layer in layers.items():
        if isinstance(layer, nn.Linear) and scale_of(f"{name}.weight") in names:
            path, _, leaf = name.rpartition(".")
            owner: Any = network.get_submodule(path)
            owner._modules[leaf] = Int8Linear(layer, int8_rule().groups(layer.in_features), buffer)


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
