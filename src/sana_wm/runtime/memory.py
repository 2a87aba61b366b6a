"""What a device says of this process's memory, asked of whoever allocates it.

Torch's own answers stand here; an engine that allocates by other means brings its own (`sana_wm.backends`).
"""

from __future__ import annotations

import gc
from typing import Protocol

import torch

from sana_wm.runtime.device import DeviceMemory, device_memory, empty_cache, limit_memory, reset_peak, synchronize


class EngineMemory(Protocol):
    """Memory of one allocator on the device of a stage."""

    def limit(self, cap_bytes: int) -> int | None:
        """Refuse allocations above the cap; the limit that now holds in bytes, `None` where there is none."""
        ...

    def read(self) -> DeviceMemory:
        """What is allocated now."""
        ...

    def reset_peak(self) -> None:
        """Start a new peak measurement."""
        ...

    def synchronize(self) -> None:
        """Wait for the device."""
        ...

    def empty_cache(self) -> None:
        """Give cached memory back to the system."""
        ...

    def describe_live(self) -> str | None:
        """The largest live arrays, in words; `None` when none is known."""
        ...


class TorchMemory:
    """Torch's allocator.

    Args:
        device: `mps`, `cuda` or `cpu`.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def limit(self, cap_bytes: int) -> int | None:
        """As `runtime.device.limit_memory`."""
        return limit_memory(self._device, cap_bytes)

    def read(self) -> DeviceMemory:
        """As `runtime.device.device_memory`."""
        return device_memory(self._device)

    def reset_peak(self) -> None:
        """Where the device keeps one."""
        reset_peak(self._device)

    def synchronize(self) -> None:
        """Wait for the device."""
        synchronize(self._device)

    def empty_cache(self) -> None:
        """Give cached blocks back to the system."""
        empty_cache(self._device)

    def describe_live(self) -> str | None:
        """The largest live tensors: shape, dtype, bytes, who holds them; `None` when Python knows of none."""
        return largest_tensors(self._device) or None


def largest_tensors(device: torch.device, count: int = 5) -> str:
    """The largest live tensors on a device, in words: shape, dtype, bytes, who holds them."""
    alive = [item for item in gc.get_objects() if isinstance(item, torch.Tensor) and item.device.type == device.type]
    alive.sort(key=lambda tensor: tensor.untyped_storage().nbytes(), reverse=True)
    return "; ".join(
        f"{tuple(tensor.shape)} {tensor.dtype} {tensor.untyped_storage().nbytes()} bytes, held by "
        f"{holders_of(tensor, besides=alive)}"
        for tensor in alive[:count]
    )


def holders_of(item: object, besides: object = None) -> str:
    """The types of what refers to an object, leaving out our own list and the frames and generators that look."""
    holders = [holder for holder in gc.get_referrers(item) if holder is not besides]
    kinds = {type(holder).__name__ for holder in holders} - {"frame", "generator"}
    return ", ".join(sorted(kinds)) or "nobody that Python knows"
