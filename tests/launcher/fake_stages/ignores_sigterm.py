"""Grows past the cap and will not stop."""

import signal
import time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
hoard = b"x" * 400_000_000
time.sleep(120)
