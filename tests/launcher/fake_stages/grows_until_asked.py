"""Grows close to the cap, waits until it is asked to take less, and finishes with less."""

import os

import harness

hoard = bytearray(os.urandom(1)) * int(0.98 * harness.CAP_BYTES - harness.own_bytes())
assert os.read(harness.LIVENESS_FD, 1) == b"s"
del hoard
harness.emit("phase_start", phase="transformer")
harness.finish()
