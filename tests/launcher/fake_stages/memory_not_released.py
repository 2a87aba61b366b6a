"""Says that a phase left device memory behind."""

import sys

import harness

harness.emit("error", kind="MemoryNotReleasedError", message="phase transformer left 12 bytes", exit_code=6)
sys.exit(6)
