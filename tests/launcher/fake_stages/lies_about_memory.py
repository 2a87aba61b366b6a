"""Says that it takes nothing, and takes far more than the cap."""

import time

import harness

harness.emit("memory", device_bytes=0, current_bytes=0)
hoard = b"x" * 600_000_000
time.sleep(60)
