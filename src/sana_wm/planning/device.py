"""Where a run computes, as far as planning has to know it."""

from __future__ import annotations

from dataclasses import dataclass

from sana_wm.names import DeviceKind
from sana_wm.planning.shares import PLANNED_SHARE
from sana_wm.sizes import GIB

#: Python, torch and what loading holds for a moment, where the device's memory is the machine's own: 0.5 GiB were
#: measured for a stage on Linux before it loads anything. A Mac's Metal libraries are not measured.
HOST_BYTES = GIB


@dataclass(frozen=True)
class Device:
    """A device as planning sees it.

    Attributes:
        kind: `mps`, `cuda` or `cpu`.
        name: For people, such as `Apple M3 Max`.
        memory_bytes: What all of the device's allocations together may take: Metal's recommended working set, the
            memory of the card, the machine's memory.
        torch_version: The release whose kernels compute.
    """

    kind: DeviceKind
    name: str
    memory_bytes: int
    torch_version: str

    @property
    def is_unified(self) -> bool:
        """Whether the device's memory is the machine's own, so that the process itself counts against the cap too."""
        return self.kind != "cuda"


def reserved_bytes(kind: DeviceKind) -> int:
    """What of a cap no engine may plan with, because the process itself takes it from the same memory."""
    return 0 if kind == "cuda" else HOST_BYTES


def budget_bytes(kind: DeviceKind, memory_bytes: int, cap_bytes: int) -> int:
    """Memory that an engine may plan with.

    A share of the cap without what the process itself takes, or of what the device can give if that is less: never
    what happens to be free, because the same run must be cut the same way each time to end in the same bits.
    """
    return max(0, int(min(cap_bytes, memory_bytes) * PLANNED_SHARE) - reserved_bytes(kind))


def element_bytes(dtype: str, kind: DeviceKind) -> int:
    """Bytes of an element for a manifest's `dtype`: `auto` is bfloat16 on accelerators and float32 on the CPU."""
    if dtype == "auto":
        return 4 if kind == "cpu" else 2
    return {"bfloat16": 2, "float32": 4}[dtype]
