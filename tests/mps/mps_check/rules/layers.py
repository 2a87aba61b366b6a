"""Rules about joining, padding, gathering, normalisation and convolution."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from mps_check.rule import Call, Severity, describe_tensor, first_such, rule

ELEMENTS_LIMIT = 2**31


def _joins_contiguous(call: Call) -> bool:
    return all(tensor.is_contiguous() and tensor.dtype == call.inputs[0].dtype for tensor in call.inputs)


def _large_cat(call: Call) -> str | None:
    outputs = call.outputs if call.name == "cat" else ()
    return first_such(outputs, lambda tensor: tensor.numel() >= ELEMENTS_LIMIT)


@rule(Severity.SILENT, "#189960, reproduced on 2.13.0", until="2.15.0")
def cat_over_2_31_elements(call: Call) -> str | None:
    """torch.cat to 2^31 elements or more is wrong and writes out of bounds."""
    return _large_cat(call)


@rule(Severity.SILENT, "#189965", since="2.15.0")
def mixed_cat_over_2_31_elements(call: Call) -> str | None:
    """torch.cat of strided or mixed-dtype tensors to 2^31 elements or more is wrong."""
    return None if _joins_contiguous(call) else _large_cat(call)


_GRAPH_PADS = ("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d")
_PADS = (*_GRAPH_PADS, "replication_pad1d", "replication_pad2d", "replication_pad3d")


def _pad_extent(call: Call) -> int:
    """The inner extent of a pad: the last dimension or what lies inside a padded axis, whichever is more."""
    output, padding = call.outputs[0], call.arguments.get("pad", call.arguments.get("padding", ()))
    padded = [output.dim() - 1 - pair for pair in range(len(padding) // 2) if any(padding[2 * pair : 2 * pair + 2])]
    return max([output.shape[-1], *(prod(output.shape[axis + 1 :]) for axis in padded)])


@rule(Severity.SILENT, "#194922, #195147, FB24527244", until="2.15.0")
def wide_pad(call: Call) -> str | None:
    """Padding a tensor of more than 4 dimensions whose inner extent is 65536 or more leaves zeros."""
    if call.name not in _PADS or call.outputs[0].dim() <= 4 or _pad_extent(call) < 65536:
        return None
    return f"{describe_tensor(call.outputs[0])} extent {_pad_extent(call)}"


@rule(Severity.MEMORY, "#195368: 262 GiB seen outside the allocator", until="2.15.0")
def pad_scratch(call: Call) -> str | None:
    """Padding goes through MPSGraph, whose scratch is kept until a synchronize."""
    return describe_tensor(call.outputs[0]) if call.name in _GRAPH_PADS else None


@rule(Severity.SILENT, "#188756", until="2.14.0")
def gather_over_2_31_elements(call: Call) -> str | None:
    """Embedding and index_select from more than 2^31 elements give zero rows."""
    weights = call.inputs[:1] if call.name in ("embedding", "index_select") else ()
    return first_such(weights, lambda tensor: tensor.numel() > ELEMENTS_LIMIT)


@rule(Severity.ERROR, "wheel 2.13: masked_fill > 2^32, nonzero > INT_MAX")
def masked_fill_too_large(call: Call) -> str | None:
    """masked_fill over 2^32 elements and nonzero over 2^31 are refused."""
    limits = {"masked_fill": 2 * ELEMENTS_LIMIT, "nonzero": ELEMENTS_LIMIT}
    return first_such(call.inputs[:1], lambda tensor: call.name in limits and tensor.numel() > limits[call.name])


@rule(Severity.SILENT, "#190054, fix unknown")
def mixed_dtype_layer_norm(call: Call) -> str | None:
    """LayerNorm reads a weight of another dtype than its input bit by bit as the input's."""
    affine = call.inputs[1:] if call.name == "native_layer_norm" else ()
    return first_such(affine, lambda tensor: tensor.dtype != call.inputs[0].dtype)


@rule(Severity.INFO, "#189617, 2.14 not checked")
def rms_norm_half_weight(call: Call) -> str | None:
    """The fused RMSNorm multiplies by its weight in half precision."""
    weights = call.inputs[1:] if call.name == "_fused_rms_norm" else ()
    return first_such(weights, lambda tensor: tensor.dtype.itemsize == 2)


@rule(Severity.SILENT, "#192212", until="2.14.0")
def strided_conv_weight(call: Call) -> str | None:
    """A convolution with a non-contiguous weight is wrong."""
    weights = call.inputs[1:2] if call.name == "convolution" else ()
    return first_such(weights, lambda tensor: not tensor.is_contiguous())


@rule(Severity.SILENT, "#180984, #169342")
def strided_conv2d_input(call: Call) -> str | None:
    """conv2d of a strided view was wrong in several releases."""

    def is_strided(tensor: Tensor) -> bool:
        channels_last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        return tensor.dim() == 4 and not tensor.is_contiguous() and not channels_last

    return first_such(call.inputs[:1] if call.name == "convolution" else (), is_strided)


@rule(Severity.SILENT, "#188335, #188359", until="2.14.0")
def wide_conv2d_kernel(call: Call) -> str | None:
    """conv2d with a kernel of 256 or more along one side is wrong."""
    weights = call.inputs[1:2] if call.name == "convolution" else ()
    return first_such(weights, lambda tensor: tensor.dim() == 4 and max(tensor.shape[2:]) >= 256)


@rule(Severity.ERROR, "wheel: refused on macOS < 15.1")
def too_many_conv_channels(call: Call) -> str | None:
    """A convolution with more than 65536 output channels is refused before macOS 15.1."""
    return first_such(call.outputs if call.name == "convolution" else (), lambda tensor: tensor.shape[1] > 65536)


@rule(Severity.ERROR, "wheel 2.13: ConvTranspose 3D with BF16 or FP16 types is not supported")
def half_conv_transpose3d(call: Call) -> str | None:
    """conv_transpose3d takes no half-precision tensors."""
    transposed = call.name == "convolution" and bool(call.arguments.get("transposed"))
    return first_such(
        call.inputs[:1] if transposed else (), lambda tensor: tensor.dim() == 5 and tensor.dtype.itemsize == 2
    )


def _conv3d(call: Call) -> str | None:
    weights = call.inputs[1:2] if call.name == "convolution" else ()
    return first_such(weights, lambda tensor: tensor.dim() == 5 and prod(tensor.shape[2:]) > 1)


@rule(Severity.INFO, "#197114: macOS 26.2 only, the self-test decides", since="2.14.0")
def conv3d_on_macos_26_2(call: Call) -> str | None:
    """conv3d is wrong on macOS 26.2."""
    return _conv3d(call)


@rule(Severity.INFO, "#192213", until="2.14.0")
def slow_conv3d(call: Call) -> str | None:
    """conv3d goes through MPSGraph at a fraction of the matmul rate."""
    return _conv3d(call)


@rule(Severity.INFO, "wheel: Metal kernel conv1d_depthwise_* from 2.15 on", until="2.15.0")
def depthwise_conv1d(call: Call) -> str | None:
    """A depthwise conv1d goes through MPSGraph."""
    depthwise = call.name == "convolution" and call.inputs[0].dim() == 3 and call.arguments.get("groups", 1) > 1
    return first_such(call.inputs[:1], lambda _: depthwise)
