"""Works until its parent is gone, then says so."""

import os

import harness

harness.emit("phase_start", phase="transformer")
os.read(harness.LIVENESS_FD, 1)
(harness.RUN.path / "parent_is_gone").write_text("yes")
