"""Memory of the whole machine: what is left, what was swapped out, whether the system is in need."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from sana_wm.progress.memory import Pressure

#: `kern.memorystatus_vm_pressure_level` of macOS: the values of DISPATCH_MEMORYPRESSURE_*.
MACOS_LEVELS: dict[int, Pressure] = {1: "normal", 2: "warning", 4: "critical"}
#: Percent of the last ten seconds in which a task of a Linux machine waited for memory: some of them, or all at once.
LINUX_WARNING_SOME, LINUX_CRITICAL_FULL = 10.0, 10.0


@dataclass(frozen=True)
class SystemMemory:
    """One look at the machine; `None` where it cannot be read.

    Attributes:
        available_bytes: What can be allocated without swapping, as psutil estimates it; on a Mac this counts file pages
            that are quick to drop, and not what compression could give.
        swap_used_bytes: Swap in use by everybody. A Mac also compresses in memory, which this does not show.
        pressure: How much the system is in need.
    """

    available_bytes: int | None
    swap_used_bytes: int | None
    pressure: Pressure | None


def read_system_memory() -> SystemMemory:
    """Look at the machine now."""
    return SystemMemory(_available_bytes(), _swap_used_bytes(), memory_pressure())


def memory_pressure() -> Pressure | None:
    """macOS: the level by which the system warns its processes. Linux: pressure stall information, where it is on."""
    return _macos_pressure() if sys.platform == "darwin" else _linux_pressure(Path("/proc/pressure/memory"))


def _available_bytes() -> int | None:
    try:
        return int(psutil.virtual_memory().available)
    except (OSError, psutil.Error):
        return None


def _swap_used_bytes() -> int | None:
    try:
        return int(psutil.swap_memory().used)
    except (OSError, RuntimeError, psutil.Error):
        return None


def _macos_pressure() -> Pressure | None:
    library = ctypes.CDLL("/usr/lib/libSystem.dylib")
    level, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    name = b"kern.memorystatus_vm_pressure_level"
    if library.sysctlbyname(name, ctypes.byref(level), ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return None
    return MACOS_LEVELS.get(level.value)


def _linux_pressure(path: Path) -> Pressure | None:
    """From lines such as `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full …`."""
    try:
        lines = path.read_text().split("\n")
    except OSError:
        return None
    shares = {words[0]: float(words[1].removeprefix("avg10=")) for line in lines if len(words := line.split()) > 1}
    if "some" not in shares:
        return None
    if shares.get("full", 0.0) >= LINUX_CRITICAL_FULL:
        return "critical"
    return "warning" if shares["some"] >= LINUX_WARNING_SOME else "normal"
