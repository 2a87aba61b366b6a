"""Ends well, with a receipt that says that a phase left a tensor on the device."""

import harness

from sana_wm.runs.receipts import PhaseRecord

left = PhaseRecord(name="transformer", seconds=1.0, peak_device_bytes=2**30, after_release_bytes=2**29)
harness.finish(device="cuda", phases=(left,))
