"""What a stage is asked for from outside: to stop, by a signal or the death of its parent; to take less memory.

The stage looks between steps. Asked to stop, it saves and leaves with exit code 130; nothing is interrupted half-way.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

from sana_wm.errors import InterruptedRunError

PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopFlag:
    """Set once, by whoever is first; `reason` says by whom."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._shrink = threading.Event()

    def listen(self, liveness_fd: int | None) -> None:
        """Watch for stop signals, and for the end of the parent's pipe.

        Args:
            liveness_fd: Read end of a pipe whose write end only the parent holds: it ends when the parent does,
                however that happens. A byte in it asks for less memory.
        """
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        if liveness_fd is not None:
            _ask_for_signal_at_parents_death()
            threading.Thread(target=self._await_parent, args=(liveness_fd,), daemon=True).start()

    def _on_signal(self, number: int, _frame: object) -> None:
        self.reason = self.reason or f"signal {signal.Signals(number).name}"

    def _await_parent(self, liveness_fd: int) -> None:
        while os.read(liveness_fd, 1):
            self._shrink.set()
        self.reason = self.reason or "its parent is gone"

    def take_shrink_request(self) -> bool:
        """Whether less memory was asked for since the last call."""
        asked = self._shrink.is_set()
        self._shrink.clear()
        return asked

    def check(self) -> None:
        """Leave if asked to; called where everything worth keeping is saved.

        Raises:
            InterruptedRunError: The stage was asked to stop.
        """
        if self.reason is not None:
            raise InterruptedRunError(f"stopped: {self.reason}", next_step="Go on with: sana-wm resume RUN_DIR")


def _ask_for_signal_at_parents_death() -> None:
    """Beside the pipe, where the system can: `prctl(PR_SET_PDEATHSIG)` of Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
