"""Rules about any tensor: dtype, dimensions, size, where it came from."""

from __future__ import annotations

import torch

from mps_check.rule import Call, Severity, first_such, rule
from sana_wm.sizes import GIB

ELEMENTS_LIMIT = 2**31
BYTES_LIMIT = 4 * GIB


@rule(Severity.ERROR, "wheel 2.13-2.15: Cannot convert a float64 Tensor to MPS; #176981")
def float64_on_device(call: Call) -> str | None:
    """Float64 and complex128 tensors cannot exist on MPS."""
    return first_such(call.on_device, lambda tensor: tensor.dtype in (torch.float64, torch.complex128))


@rule(Severity.SILENT, "#177474, #191835, #184379")
def complex_on_device(call: Call) -> str | None:
    """Complex tensors: conjugate views are wrong in einsum, bmm and .imag, so none is allowed."""
    return first_such(call.on_device, lambda tensor: tensor.dtype in (torch.complex64, torch.complex32))


@rule(Severity.ERROR, "wheel 2.13, 2.14: no float8 kernel in the metallib", until="2.15.0")
def float8_on_device(call: Call) -> str | None:
    """Float8 tensors have no kernel."""
    return first_such(call.on_device, lambda tensor: tensor.dtype.is_floating_point and tensor.dtype.itemsize == 1)


@rule(Severity.ERROR, "wheel: MPS supports tensors with dimensions <= 16")
def too_many_dims(call: Call) -> str | None:
    """More than 16 dimensions."""
    return first_such(call.on_device, lambda tensor: tensor.dim() > 16)


@rule(Severity.ERROR, "wheel: MPSGraph does not support tensor dims larger than INT_MAX")
def dim_over_int_max(call: Call) -> str | None:
    """One dimension of 2^31 or more."""
    return first_such(call.on_device, lambda tensor: any(size >= ELEMENTS_LIMIT for size in tensor.shape))


@rule(Severity.SILENT, "#149325, #189960, #197636: 32-bit indexing, op by op unverified")
def write_over_2_31_elements(call: Call) -> str | None:
    """An op writes 2^31 elements or more."""
    return first_such(call.written, lambda tensor: tensor.numel() >= ELEMENTS_LIMIT)


@rule(Severity.ERROR, "#149325, #149261: total bytes of NDArray > 2**32 aborts the process")
def tensor_over_4_gib(call: Call) -> str | None:
    """An op writes a tensor of 4 GiB or more."""
    return first_such(call.written, lambda tensor: tensor.numel() * tensor.element_size() >= BYTES_LIMIT)


@rule(Severity.ERROR, "wheel 2.13: MPS doesn't know how to do exponent_i64")
def int64_power(call: Call) -> str | None:
    """Powers of int64 tensors."""
    return first_such(call.inputs[:1], lambda tensor: call.name in ("pow", "square") and tensor.dtype == torch.int64)


_RANDOM = (
    "randn",
    "rand",
    "randn_like",
    "rand_like",
    "normal",
    "uniform",
    "randint",
    "randperm",
    "bernoulli",
)


@rule(Severity.SILENT, "#147740; the stream differs from the CPU's and CUDA's")
def random_on_device(call: Call) -> str | None:
    """Random numbers drawn on the device: a seed would mean another video."""
    return call.name if call.name in _RANDOM else None


@rule(Severity.INFO, "each one waits for the device")
def host_sync(call: Call) -> str | None:
    """A value or a shape has to come back to the host."""
    if call.name in ("_local_scalar_dense", "nonzero", "masked_select"):
        return call.name
    masks = call.inputs[1:] if call.name in ("index", "index_put") else ()
    mask = first_such(masks, lambda tensor: tensor.dtype == torch.bool)
    return f"{call.name} by {mask}" if mask else None
