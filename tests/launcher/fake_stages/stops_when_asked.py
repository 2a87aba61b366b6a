"""Saves and leaves with 130 when asked to stop."""

import signal
import sys
import time

import harness


def save(_number: int, _frame: object) -> None:
    folder = harness.RUN.checkpoint_folder(harness.STAGE)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved").write_text("yes")
    sys.exit(130)


signal.signal(signal.SIGTERM, save)
harness.emit("phase_start", phase="transformer")
time.sleep(120)
