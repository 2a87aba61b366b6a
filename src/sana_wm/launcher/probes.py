"""What the system says of a process's memory. A probe that cannot read says so with `None`, never with zero."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable

import psutil


class _RusageInfoV0(ctypes.Structure):
    """`struct rusage_info_v0` of <sys/resource.h> on macOS."""

    _fields_ = (
        ("ri_uuid", ctypes.c_uint8 * 16),
        *(
            (name, ctypes.c_uint64)
            for name in (
                "ri_user_time",
                "ri_system_time",
                "ri_pkg_idle_wkups",
                "ri_interrupt_wkups",
                "ri_pageins",
                "ri_wired_size",
                "ri_resident_size",
                "ri_phys_footprint",
                "ri_proc_start_abstime",
                "ri_proc_exit_abstime",
            )
        ),
    )


def process_bytes(pid: int) -> int | None:
    """Memory that the system charges to one process, in bytes.

    macOS: the physical footprint (`proc_pid_rusage`), which is what Activity Monitor shows and what the system kills
    by; it includes Metal buffers, which the resident size does not. Not run on a Mac by this project yet.
    Linux: the unique set size; it misses pages shared with other processes and all device memory.
    """
    if sys.platform == "darwin":
        return _physical_footprint(pid)
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except psutil.Error:
        return None


def group_bytes(pids: Iterable[int]) -> int | None:
    """Sum of `process_bytes` over processes; `None` when none could be read."""
    readings = [reading for pid in pids if (reading := process_bytes(pid)) is not None]
    return sum(readings) if readings else None


def session_members(session: int) -> list[int]:
    """Pids of all living processes of a session: a stage and whatever it started, in whichever group."""
    members: list[int] = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                members.append(pid)
        except (OSError, psutil.Error):
            continue  # it ended while we looked
    return members


def _physical_footprint(pid: int) -> int | None:
    library = ctypes.CDLL("/usr/lib/libproc.dylib")
    info = _RusageInfoV0()
    if library.proc_pid_rusage(ctypes.c_int(pid), ctypes.c_int(0), ctypes.byref(info)) != 0:
        return None
    return int(info.ri_phys_footprint)
