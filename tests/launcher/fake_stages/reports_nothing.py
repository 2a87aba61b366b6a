"""Ends well on a device and never says what it took or left there."""

import harness

harness.finish(device="mps", phases=())
