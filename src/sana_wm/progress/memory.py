"""What is seen of a running stage's memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: How much a machine is in need of memory.
Pressure = Literal["normal", "warning", "critical"]


@dataclass(frozen=True)
class MemorySample:
    """One look at a running stage, in bytes; `None` where nothing could be read.

    Attributes:
        process_bytes: What the system charges to the stage and its children.
        device_bytes: What the stage reports of its device.
        device_limit_bytes: At which the stage's device refuses to allocate.
        available_bytes: What the machine has left.
        swap_growth_bytes: Swap in use now above what was in use when the stage began, or was last asked to take less.
        pressure: How much the machine is in need.
    """

    process_bytes: int | None
    device_bytes: int | None
    device_limit_bytes: int | None = None
    available_bytes: int | None = None
    swap_growth_bytes: int | None = None
    pressure: Pressure | None = None

    @property
    def used_bytes(self) -> int:
        """The figure held against the cap.

        The larger of the two: on a Mac the process's footprint already includes the device's memory, and beside a
        CUDA card host and device are separate pools with the same cap each.
        """
        return max(self.process_bytes or 0, self.device_bytes or 0)
