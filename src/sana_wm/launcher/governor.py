"""The memory governor's rule: samples in, verdict out. The supervisor acts on it every 250 ms."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MemorySample:
    """One look at a running stage, in bytes; `None` where nothing could be read.

    Attributes:
        process_bytes: What the system charges to the stage and its children.
        device_bytes: What the stage reports of its device.
    """

    process_bytes: int | None
    device_bytes: int | None

    @property
    def used_bytes(self) -> int:
        """The figure held against the cap.

        The larger of the two: on a Mac the process's footprint already includes the device's memory, and beside a
        CUDA card host and device are separate pools with the same cap each.
        """
        return max(self.process_bytes or 0, self.device_bytes or 0)


def is_over_cap(sample: MemorySample, cap_bytes: int) -> bool:
    """Whether a stage must be stopped."""
    return sample.used_bytes > cap_bytes
