"""Memory that the system charges to a stage: its process and whatever it started."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

#: What of /proc/PID/status is memory that only the death of its processes gives back: not the files that are mapped.
CHARGED = (b"RssAnon:", b"RssShmem:", b"VmSwap:")


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
    """Memory charged to one process, in bytes; cheap enough for four times a second.

    macOS: the physical footprint (`proc_pid_rusage`), which is what Activity Monitor shows and what the system kills
    by; it includes Metal buffers, which the resident size does not. Not run on a Mac by this project yet.
    Linux: anonymous, shared and swapped pages (/proc/PID/status, 0.02 ms). It misses file pages, which the system
    takes back when it needs them, and all device memory; pages that two processes share count twice.
    """
    if sys.platform == "darwin":
        return _physical_footprint(pid)
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return None
    lines = [line for line in status.splitlines() if line.startswith(CHARGED)]
    # A process that is ending has no memory lines any more.
    return sum(int(line.split()[1]) for line in lines) * 1024 if lines else None


def exact_process_bytes(pid: int) -> int | None:
    """The same with shared pages divided among those who share them: what counts before a stage is stopped.

    macOS: the footprint, which already is exact. Linux: the proportional set size and swap (/proc/PID/smaps_rollup,
    0.15 ms for each GB of the process).
    """
    if sys.platform == "darwin":
        return _physical_footprint(pid)
    try:
        usage = psutil.Process(pid).memory_full_info()
    except psutil.Error:
        return None
    return int(usage.pss + usage.swap)


def group_bytes(pids: Iterable[int], read: Callable[[int], int | None] = process_bytes) -> int | None:
    """Sum over processes; `None` when none could be read."""
    readings = [reading for pid in pids if (reading := read(pid)) is not None]
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
