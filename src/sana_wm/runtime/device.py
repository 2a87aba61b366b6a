"""The device of a stage: choice, dtype, synchronisation, caches, what it says of its memory.

The one place that knows what differs between devices' programming interfaces.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass

import psutil
import torch

from sana_wm.errors import UsageError
from sana_wm.machine import name_chip
from sana_wm.planning.device import Device

#: What torch takes when the variable is not set (docs/mps.md).
MPS_DEFAULT_HIGH_WATERMARK = "1.7"


@dataclass(frozen=True)
class DeviceMemory:
    """What the device reports of this process, in bytes; `None` where it cannot say.

    Attributes:
        current_bytes: Live tensors.
        driver_bytes: Live tensors, pool cache and, on MPS, MPSGraph scratch: what the system sees.
        peak_bytes: Highest `current_bytes` since the last reset (CUDA only).
    """

    current_bytes: int | None
    driver_bytes: int | None
    peak_bytes: int | None


def select_device(name: str) -> torch.device:
    """The torch device for a manifest's `device`: `auto` takes mps, then cuda, then cpu.

    Raises:
        UsageError: The named device is not there.
    """
    present = {
        "mps": torch.backends.mps.is_available(),
        "cuda": torch.cuda.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, there in present.items() if there))
    if not present.get(name, False):
        raise UsageError(
            f"device {name} is not available",
            got=", ".join(kind for kind, there in present.items() if there),
            expected=name,
            next_step='Set "device": "auto", or install a torch build for this device.',
        )
    return torch.device(name)


def select_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype for a manifest's `dtype`: `auto` is bfloat16 on accelerators and float32 on the CPU."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return dtype_named(name)


def dtype_named(name: str) -> torch.dtype:
    """`bfloat16` or `float32` as torch has it."""
    return {"bfloat16": torch.bfloat16, "float32": torch.float32}[name]


def synchronize(device: torch.device) -> None:
    """Wait for the device. On MPS this is also the only thing that drops MPSGraph scratch (pytorch #145374)."""
    if device.type == "mps":
        torch.mps.synchronize()
    elif device.type == "cuda":
        torch.cuda.synchronize(device)


def empty_cache(device: torch.device) -> None:
    """Give cached blocks back to the system, cuBLAS's workspaces with them: they count as allocated memory."""
    if device.type == "mps":
        torch.mps.empty_cache()
    elif device.type == "cuda":
        torch._C._cuda_clearCublasWorkspaces()  # pyright: ignore[reportPrivateUsage]
        torch.cuda.empty_cache()


def reset_peak(device: torch.device) -> None:
    """Start a new peak measurement where the device keeps one."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def device_memory(device: torch.device) -> DeviceMemory:
    """What the device reports of this process now. A CPU reports nothing: its memory is the process's own."""
    if device.type == "mps":
        return DeviceMemory(torch.mps.current_allocated_memory(), torch.mps.driver_allocated_memory(), None)
    if device.type == "cuda":
        return DeviceMemory(
            torch.cuda.memory_allocated(device),
            torch.cuda.memory_reserved(device),
            torch.cuda.max_memory_allocated(device),
        )
    return DeviceMemory(None, None, None)


def limit_memory(device: torch.device, cap_bytes: int) -> int | None:
    """Make the device refuse allocations above the cap, so that they fail inside Python first.

    On MPS the limit comes from the two watermark variables, which the allocator reads at its first use: the launcher
    sets them before the stage starts (`sana_wm.launcher.process.mps_watermarks`).

    Returns:
        The limit that now holds, in bytes; `None` for a CPU, which has none of its own.
    """
    if device.type == "cuda":
        total_bytes = torch.cuda.get_device_properties(device).total_memory
        # For the current device, which `cuda` means: this call alone takes no device without an index.
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap_bytes / total_bytes))
        return min(cap_bytes, total_bytes)
    if device.type == "mps":
        ratio = float(os.environ.get("PYTORCH_MPS_HIGH_WATERMARK_RATIO", MPS_DEFAULT_HIGH_WATERMARK))
        # A ratio of 0 turns the limit off.
        return int(ratio * torch.mps.recommended_max_memory()) if ratio else sys.maxsize
    return None


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether this error says that an allocation did not fit (MPS has no class of its own for it)."""
    text = str(error)
    signs = ("out of memory", "Invalid buffer size", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in text for sign in signs)


def describe_device(device: torch.device) -> Device:
    """The device as planning sees it.

    Its memory is Metal's recommended working set, the CUDA card's, or the machine's: never what happens to be free,
    because the same run must be cut the same way each time to end in the same bits.
    """
    if device.type == "mps":
        return Device("mps", name_chip() or platform.machine(), torch.mps.recommended_max_memory(), torch.__version__)
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        return Device("cuda", card.name, card.total_memory, torch.__version__)
    return Device("cpu", platform.machine(), psutil.virtual_memory().total, torch.__version__)
