"""Saves and leaves the first time it is asked to stop; works when it is started again."""

import sys

import harness

saved = harness.RUN.path / "paused_once"
if not saved.exists():
    harness.work_until_asked_to_stop()
    saved.write_text("yes")
    sys.exit(130)
harness.emit("phase_start", phase="transformer")
harness.finish()
