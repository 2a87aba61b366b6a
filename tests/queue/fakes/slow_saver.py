"""`python -m slow_saver`: asked to stop, it needs half a second to save, and says so with exit code 3."""

from __future__ import annotations

import signal
import sys
import threading
import time

asked = threading.Event()
signal.signal(signal.SIGTERM, lambda _number, _frame: asked.set())
print(flush=True)
asked.wait(30)
time.sleep(0.5)
sys.exit(3)
