"""Saves and leaves the first time it is asked to stop; works when it is started again."""

import signal
import sys
import time

import harness

saved = harness.RUN.path / "paused_once"


def save(_number: int, _frame: object) -> None:
    saved.write_text("yes")
    sys.exit(130)


signal.signal(signal.SIGTERM, save)
harness.emit("phase_start", phase="transformer")
if not saved.exists():
    time.sleep(120)
harness.finish()
