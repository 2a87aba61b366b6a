"""Device, noise and cache for upstream's scripts, which know CUDA only.

`TorchOnAnyDevice` stands where a script says `torch`: all of torch, but for the few calls that MPS needs otherwise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def pick_device() -> torch.device:
    """`mps`, then `cuda`, then `cpu`, whichever is there first."""
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def empty_cache() -> None:
    """Wait for the device and give cached memory back. On MPS only waiting drops MPSGraph's scratch."""
    if torch.backends.mps.is_available():
        torch.mps.synchronize()
        torch.mps.empty_cache()
    elif torch.cuda.is_available():
        torch.cuda.empty_cache()


class CacheOnAnyDevice:
    """`torch.cuda` with an `empty_cache` for whatever device there is."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cuda, name)

    @staticmethod
    def empty_cache() -> None:
        """See `sana_wm_mps.device.empty_cache`."""
        empty_cache()

    @staticmethod
    def is_available() -> bool:
        """Whether there is a cache to empty."""
        return pick_device().type != "cpu"


class TorchOnAnyDevice:
    """The module `torch` for a script of upstream's; a seed means the same noise on every device."""

    cuda = CacheOnAnyDevice()

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    @staticmethod
    def Generator(device: object = None) -> torch.Generator:
        """A generator on the CPU, whatever was asked for."""
        del device
        return torch.Generator("cpu")

    @staticmethod
    def randn(
        *size: Any,
        generator: torch.Generator | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **arguments: Any,
    ) -> Tensor:
        """Noise drawn in float32 on the CPU, then rounded and moved."""
        return torch.randn(*size, generator=generator, **arguments).to(device=device, dtype=dtype)


#: The one object that scripts get as `torch`.
TORCH = TorchOnAnyDevice()
