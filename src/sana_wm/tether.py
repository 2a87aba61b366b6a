"""`python -m sana_wm.tether [--patient] FD MODULE ARGUMENTS`: runs a module that ends when who started it does.

FD is the read end of a pipe whose write end only that process holds: it ends when the process does, however that
happens, or when it wants no more of the module. With `--patient` the module gets the time that it needs: a run first
ends its step and saves.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

from sana_wm.streams import outlive

#: How long a module gets to clean up, without `PATIENT`.
GRACE_S = 5.0
PATIENT = "--patient"
INTERRUPTED = 130


def main() -> None:
    """Run the module that the command line names."""
    is_patient = sys.argv[1] == PATIENT
    descriptor, module, *arguments = sys.argv[2 if is_patient else 1 :]
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_await_end, args=(int(descriptor), is_patient), daemon=True).start()
    sys.stdout, sys.stderr = outlive(sys.stdout), outlive(sys.stderr)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(INTERRUPTED)


def _await_end(descriptor: int, is_patient: bool) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    if is_patient:
        return
    time.sleep(GRACE_S)
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
