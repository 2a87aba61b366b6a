"""Whether the system itself ended a process for want of memory, where it tells."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sana_wm.system import read_output

_OOM_KILL = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def count_memory_kills(root: Path = Path("/")) -> int | None:
    """How many processes Linux has ended for want of memory: in our control groups, or on the whole machine.

    Args:
        root: Where `/proc` and `/sys` are.

    Returns:
        A count that only grows; `None` where nobody counts.
    """
    counts = [int(found[1]) for path in _counters(root) if (found := _OOM_KILL.search(_text(path)))]
    return sum(counts) if counts else None  # it grows when any of them does


def was_killed_for_memory(pid: int, kills_before: int | None) -> bool:
    """Whether a process that SIGKILL ended, not ours, was ended by the system for want of memory.

    Args:
        pid: The process.
        kills_before: `count_memory_kills` before it ran.
    """
    if sys.platform == "darwin":
        words = f'process == "kernel" AND eventMessage CONTAINS "memorystatus" AND eventMessage CONTAINS "{pid}"'
        command = ["/usr/bin/log", "show", "--last", "2m", "--style", "compact", "--predicate", words]
        return tells_of_jetsam(read_output(command) or "", pid)
    kills = count_memory_kills()
    return kills is not None and kills_before is not None and kills > kills_before


def tells_of_jetsam(log: str, pid: int) -> bool:
    """Whether a macOS log says that the kernel ended a process for want of memory.

    Args:
        log: Lines such as `memorystatus: killing_top_process pid 4711 [python3.11] (highwater 100)`.
        pid: The process.
    """
    return re.search(rf"memorystatus: killing\w* (process |pid ){pid}\b", log) is not None


def _counters(root: Path) -> list[Path]:
    groups = root / "sys" / "fs" / "cgroup"
    paths = [root / "proc" / "vmstat"]
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, place = (*line.split(":", 2), "", "")[:3]
        if controllers == "":
            paths.append(groups / place.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            paths.append(groups / "memory" / place.lstrip("/") / "memory.oom_control")
    return paths


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
