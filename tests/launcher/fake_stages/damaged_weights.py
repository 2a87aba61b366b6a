"""Says that a weight file is damaged."""

import sys

import harness

harness.emit("error", kind="WeightsError", message="shard 3 is truncated", exit_code=3)
sys.exit(3)
