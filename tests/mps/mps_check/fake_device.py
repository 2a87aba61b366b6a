"""A device `mps` without a Mac: fake tensors that take the MPS branches of torch's own C++ code.

Tensors on `mps` are fake; on the CPU tensors are real up to `REAL_HOST_ELEMENTS`, so that code which makes tables or
looks at a mask there runs as on a Mac. What comes back from the device stays fake: its values were never computed.

Where torch was built with MPS nothing is added but the fake mode. Elsewhere four gaps are filled for the duration of
the context: the device guard that indexing opens, kernels for the composite ops that MPS does not take apart, the MPS
branch of attention, and the bindings of `torch.mps`.
"""

# Torch's internals are what this file is about.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Network = TypeVar("Network", bound=nn.Module)

_C: Any = torch._C  # no stubs for what is used here

DEVICE = torch.device("mps", 0)
REAL_HOST_ELEMENTS = 2**24

# c10/core/DeviceType.h: positions in the registry of device guards, part of torch's ABI.
_MPS_SLOT, _PRIVATE_USE_SLOT, _SLOTS = 13, 20, 21
_GUARD_REGISTRY = "_ZN3c104impl26device_guard_impl_registryE"

# Composite-implicit ops on our path that own an MPS kernel in native_functions.yaml: MPS does not decompose them.
_UNDECOMPOSED = ("linear", "_fused_rms_norm")

_RUNTIME_BINDINGS: dict[str, Callable[..., int | None]] = {
    "_mps_deviceSynchronize": lambda: None,
    "_mps_emptyCache": lambda: None,
    "_mps_currentAllocatedMemory": lambda: 0,
    "_mps_driverAllocatedMemory": lambda: 0,
}


@contextmanager
def fake_mps_device() -> Generator[None]:
    """Make `device="mps"` usable for fake tensors.

    For tracing only, under `torch.no_grad()`: a real tensor on `mps` still cannot be made where there is none.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        # Building a network copies fake parameters, which asks for their address; that they have none is known.
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        if not torch.backends.mps.is_built():
            stack.enter_context(_device_guard())
            stack.enter_context(_mps_kernels())
            stack.enter_context(_runtime_bindings())
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(_RealHost())
        yield


class _RealHost(TorchDispatchMode):
    """Runs calls on the CPU for real, unless their result is large: nobody looks at the values of a long table."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if any(map(_is_fake, args)) or any(map(_is_fake, tree_leaves((args, kwargs)))):
            return func(*args, **kwargs)
        if not func._schema.is_mutable:
            with suppress(DataDependentOutputException, DynamicOutputShapeException):
                fake = func(*args, **kwargs)
                if any(map(_is_large, tree_leaves(fake))):
                    return fake
        with unset_fake_temporarily():
            return func(*args, **kwargs)


def _is_fake(leaf: object) -> bool:
    return isinstance(leaf, FakeTensor) or (isinstance(leaf, torch.device) and leaf.type == DEVICE.type)


def _is_large(leaf: object) -> bool:
    return isinstance(leaf, FakeTensor) and leaf.fake_device.type == "cpu" and leaf.numel() > REAL_HOST_ELEMENTS


@contextmanager
def _device_guard() -> Generator[None]:
    """Without a guard in the registry, indexing says that PyTorch is not linked with support for mps devices."""
    registry = _guard_registry()
    registry[_MPS_SLOT] = _noop_guard_address()
    try:
        yield
    finally:
        registry[_MPS_SLOT] = None


@cache
def _noop_guard_address() -> int:
    """Make a guard in Python, by torch's seam for out-of-tree backends, and take it out of their slot."""

    class NoOpGuard(_C._acc.DeviceGuard):
        def type_(self) -> Any:
            return _C._autograd.DeviceType.MPS

    registry = _guard_registry()
    occupant = registry[_PRIVATE_USE_SLOT]
    # The registry keeps a bare pointer: the guard has to outlive it, so it is never freed.
    guard = NoOpGuard()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(guard))
    _C._acc.register_python_privateuseone_device_guard(guard)
    address = registry[_PRIVATE_USE_SLOT]
    registry[_PRIVATE_USE_SLOT] = occupant
    if address is None:
        raise RuntimeError("torch did not register the device guard: its ABI has changed, mend fake_device.py")
    return address


@cache
def _guard_registry() -> ctypes.Array[ctypes.c_void_p]:
    """The table in libc10 that maps a device type to the guard that C++ code opens for it."""
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    return (ctypes.c_void_p * _SLOTS).in_dll(library, _GUARD_REGISTRY)


@contextmanager
def _mps_kernels() -> Generator[None]:
    kernels = torch.library.Library("aten", "IMPL", "MPS")
    attention = torch.library.Library("aten", "IMPL", "AutogradMPS")
    try:
        for name in _UNDECOMPOSED:
            kernels.impl(name, _must_not_run)
        attention.impl("scaled_dot_product_attention", attention_on_mps)
        yield
    finally:
        kernels._destroy()  # the only way to unregister
        attention._destroy()


def _must_not_run(*_: object, **__: object) -> Tensor:
    raise RuntimeError("a kernel of the fake MPS device was called with a real tensor")


def attention_on_mps(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The branch that torch takes for an MPS query without gradient; choosing it is compiled for MPS builds only.

    Source: pytorch aten/src/ATen/native/transformers/attention.cpp, scaled_dot_product_attention.
    """
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, float("-inf"))
    attend: Any = torch.ops.aten._scaled_dot_product_attention_math_for_mps
    output, _ = attend(query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa)
    return output


@contextmanager
def _runtime_bindings() -> Generator[None]:
    """Let `torch.mps.synchronize()` and its like pass: in a build without MPS the functions that they call raise."""
    originals = {name: getattr(_C, name) for name in _RUNTIME_BINDINGS}
    for name, binding in _RUNTIME_BINDINGS.items():
        setattr(_C, name, binding)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(_C, name, original)


def move_to_fake_device(module: Network, dtype: torch.dtype) -> Network:
    """Put a module on the fake device as loading its weights would put it on a real one.

    Parameters and stored buffers get the dtype; computed tables move with their own; plain attributes stay where they
    are. Shared parameters stay shared. The module is changed in place.

    Args:
        module: Such as from `sana_wm.models.loading.build_empty`.
        dtype: For floating-point parameters and stored buffers.
    """
    moved: dict[int, nn.Parameter] = {}
    stored = module.state_dict(keep_vars=True)
    for prefix, owner in module.named_modules():
        for name, parameter in list(owner.named_parameters(recurse=False, remove_duplicate=False)):
            if id(parameter) not in moved:
                moved[id(parameter)] = nn.Parameter(_on_device(parameter, dtype), requires_grad=False)
            setattr(owner, name, moved[id(parameter)])
        for name, buffer in list(owner.named_buffers(recurse=False, remove_duplicate=False)):
            is_stored = f"{prefix}.{name}".lstrip(".") in stored
            setattr(owner, name, _on_device(buffer, dtype if is_stored else buffer.dtype))
    return module.eval()


def _on_device(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.empty(tensor.shape, dtype=dtype if tensor.is_floating_point() else tensor.dtype, device=DEVICE)
