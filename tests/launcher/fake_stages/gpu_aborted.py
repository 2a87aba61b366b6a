"""The real stage, on a GPU whose work the system aborts: torch does not say so, Apple's framework does."""

import os
import sys
import threading
import time

from sana_wm.stages.__main__ import main


def complain() -> None:
    while True:
        os.write(2, b"Error: command buffer exited with error status.\n\tThe operations may not have completed.\n")
        time.sleep(0.1)


threading.Thread(target=complain, daemon=True).start()
sys.exit(main())
