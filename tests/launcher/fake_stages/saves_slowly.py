"""Saves and leaves with 130 when asked to stop, which takes it two seconds."""

import sys
import time

import harness

harness.work_until_asked_to_stop()
time.sleep(2)
folder = harness.RUN.checkpoint_folder(harness.STAGE)
folder.mkdir(parents=True, exist_ok=True)
(folder / "saved").write_text("yes")
sys.exit(130)
