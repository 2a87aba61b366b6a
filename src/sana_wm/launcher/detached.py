"""A command that goes on whatever becomes of who started it: how a page starts a run."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from sana_wm.durable import open_to_append
from sana_wm.modules import PYTHON


def start_detached(module: Sequence[str], log: Path) -> int:
    """Start a command in a session of its own: no terminal, no signal of this process and no end of it reaches it.

    Args:
        module: A module and its arguments, as after `python -m`.
        log: Takes what it says.

    Returns:
        Its pid.
    """
    with open_to_append(log) as output:
        process = subprocess.Popen(
            [*PYTHON, *module],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Somebody must take note of its end, or it stays as a zombie for as long as this process lives.
    threading.Thread(target=process.wait, name=f"end of {process.pid}", daemon=True).start()
    return process.pid


def ask_to_stop(pid: int) -> None:
    """Ask a run to save and leave, as Ctrl-C in its terminal would.

    Args:
        pid: Of its command, which owns the run directory.

    Raises:
        OSError: There is no such process, or it is another user's.
    """
    os.kill(pid, signal.SIGTERM)  # SIGINT is ignored where a shell began the page in its background
