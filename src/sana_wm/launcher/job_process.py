"""A whole command as a process tree of its own, whose crash takes nobody else down: how the queue runs a job."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from sana_wm.durable import open_to_append
from sana_wm.errors import MemoryNotReleasedError
from sana_wm.launcher.process import KILL_S
from sana_wm.modules import PYTHON
from sana_wm.tether import PATIENT


class JobProcess:
    """A running job: a session of its own, no standard input, its output in a log.

    It is asked to stop by the end of a pipe, which also ends when this process does, however that happens. Then a run
    ends its step and saves.

    Args:
        module: A module and its arguments, as after `python -m`.
        log: Takes what it says.
        inherited: Open files that it keeps until it is gone, such as the lock of its queue.
    """

    def __init__(self, module: Sequence[str], log: Path, inherited: Sequence[int] = ()) -> None:
        with open_to_append(log) as output:
            read_end, self._leash = os.pipe()
            self._process = subprocess.Popen(
                [*PYTHON, "sana_wm.tether", PATIENT, str(read_end), *module],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(read_end, *inherited),
                start_new_session=True,
            )
        os.close(read_end)
        self.pid = self._process.pid
        self.is_asked = False
        self._seen: set[psutil.Process] = set()

    def wait(self, timeout_s: float) -> int | None:
        """The exit code once the process has ended (negative: the signal), `None` after the timeout."""
        with contextlib.suppress(psutil.Error):
            # Whatever it started is remembered while it can still be found by its parent.
            self._seen |= {psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)}
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def ask_to_stop(self) -> None:
        """Ask it to save and leave; a second time does nothing."""
        if not self.is_asked:
            self.is_asked = True
            os.close(self._leash)

    def ask_again(self) -> None:
        """Ask it to leave at once: its last checkpoint stays."""
        self._signal(signal.SIGTERM)

    def suspend(self) -> None:
        """Stop it where it is, as Ctrl-Z would, until `go_on`."""
        self._signal(signal.SIGTSTP)

    def go_on(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def left_behind(self) -> list[int]:
        """Pids of what it started and what is still there, and of the job itself while it runs."""
        return [one.pid for one in self._seen if _is_alive(one)]

    def kill(self) -> list[int]:
        """End it and everything it started, now; returns the pids that were there.

        Raises:
            MemoryNotReleasedError: One of them does not end, such as a process stuck in a driver.
        """
        killed = self.left_behind()
        deadline = time.monotonic() + KILL_S
        while left := [one for one in self._seen if _is_alive(one)]:
            for one in left:
                with contextlib.suppress(psutil.Error):
                    one.kill()
            if time.monotonic() > deadline:
                raise MemoryNotReleasedError(
                    "processes of a job do not end",
                    got=f"pids {[one.pid for one in left]}",
                    expected="none",
                    next_step="Restart the machine; what was done is saved. Then: sana-wm queue run",
                )
            time.sleep(0.01)
        return killed

    def close(self) -> None:
        """Let go of the pipe."""
        self.ask_to_stop()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
