"""What `memory.cap_gib: "auto"` is on a device: a number that is known before a run begins, and kept with it."""

from __future__ import annotations

import math
from typing import TypeVar

from sana_wm.manifest.limits import LARGEST_AUTO_CAP_GIB, MemorySection
from sana_wm.manifest.model import Manifest
from sana_wm.planning.device import Device
from sana_wm.sizes import GIB

#: Of a machine's memory, for computing on its CPU: nobody recommends a share there, as Metal does of a Mac's, so it is
#: about what Metal recommends. The rest is the system's and other programs'.
CPU_SHARE = 0.75

M = TypeVar("M", bound=Manifest)


def automatic_cap_gib(device: Device) -> float:
    """96 GiB, or what the device can give if that is less, in hundredths of a GiB, rounded down.

    Metal's recommended working set, all of a card's memory, or a share of the machine's: never what happens to be free,
    because the same run must get the same cap each time.
    """
    share = CPU_SHARE if device.kind == "cpu" else 1.0
    return min(LARGEST_AUTO_CAP_GIB, math.floor(device.memory_bytes * share / GIB * 100) / 100)


def known_cap_gib(memory: MemorySection, device: Device) -> float:
    """A manifest's cap on a device."""
    return automatic_cap_gib(device) if memory.cap_gib == "auto" else memory.cap_gib


def settle_cap(manifest: M, device: Device) -> M:
    """A manifest with its cap as a number."""
    cap_gib = known_cap_gib(manifest.memory, device)
    return manifest.model_copy(update={"memory": manifest.memory.model_copy(update={"cap_gib": cap_gib})})
