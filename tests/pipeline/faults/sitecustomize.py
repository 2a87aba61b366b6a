"""Python loads this at its start where this folder stands in PYTHONPATH: faults at the named points of a write.

SANA_WM_TEST_POINTS names a file that every point reached is appended to. SANA_WM_TEST_FAULT holds what happens at one
of them, as JSON: `role` (parent or stage), `point`, `file` (its end), `marker` (a file that says it has happened), and
`error` (a number: the write fails with it) or `signal` and `target` (parent, stage, ffmpeg, all).
"""

import json
import os
import signal
import sys
from pathlib import Path

FAULT = json.loads(os.environ.get("SANA_WM_TEST_FAULT", "null"))
LOG = os.environ.get("SANA_WM_TEST_POINTS")


def role() -> str:
    return "stage" if "sana_wm.stages" in sys.orig_argv else "parent"


def victims(target: str) -> list[int]:
    import psutil

    me = psutil.Process()
    root = me.parent() if role() == "stage" else me
    assert root is not None
    below = root.children(recursive=True)
    ffmpegs = [process for process in below if "ffmpeg" in process.name()]
    chosen = {
        "parent": [root],
        "stage": [process for process in below if process.ppid() == root.pid],
        "ffmpeg": ffmpegs,
        "all": [root, *below],
    }[target]
    return sorted((process.pid for process in chosen), key=lambda pid: pid == os.getpid())  # ourselves last


def reach(point: str, path: Path) -> None:
    if LOG:
        with open(LOG, "a") as file:  # noqa: PTH123
            file.write(json.dumps([role(), point, str(path)]) + "\n")
    if not FAULT or (FAULT["role"], FAULT["point"]) != (role(), point) or not str(path).endswith(FAULT["file"]):
        return
    if "error" in FAULT:
        raise OSError(FAULT["error"], os.strerror(FAULT["error"]))
    pids = victims(FAULT["target"])
    marker = Path(FAULT["marker"])
    if pids and not marker.exists():
        marker.touch()
        for pid in pids:
            os.kill(pid, signal.Signals[FAULT["signal"]])


if FAULT or LOG:
    from sana_wm import durable

    durable.on_point = reach
