"""Saves and leaves with 130 when asked to stop."""

import sys

import harness

harness.work_until_asked_to_stop()
folder = harness.RUN.checkpoint_folder(harness.STAGE)
folder.mkdir(parents=True, exist_ok=True)
(folder / "saved").write_text("yes")
sys.exit(130)
