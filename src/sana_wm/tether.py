"""`python -m sana_wm.tether FD MODULE ARGUMENTS`: runs a module that ends when the process that started it does.

FD is the read end of a pipe whose write end only that process holds: it ends when the process does, however that
happens, or when it wants no more of the module.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

from sana_wm.streams import outlive

#: How long a module gets to clean up.
GRACE_S = 5.0
INTERRUPTED = 130


def main() -> None:
    """Run the module that the command line names."""
    descriptor, module, *arguments = sys.argv[1:]
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_await_end, args=(int(descriptor),), daemon=True).start()
    sys.stdout, sys.stderr = outlive(sys.stdout), outlive(sys.stderr)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(INTERRUPTED)


def _await_end(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
