"""Begins on a device that would give it more than the cap."""

import time

import harness

facts = {"kind": "mps", "name": "Apple M3 Max", "memory_bytes": 2**36, "torch_version": "2.13.0"}
harness.emit("stage_start", device_facts=facts, device_limit_bytes=harness.CAP_BYTES + 1)
time.sleep(60)
