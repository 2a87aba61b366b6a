"""The real stage, on a GPU whose work the system aborts in a late step: only the standard error says so."""

import os
import sys
import threading
import time

import harness

from sana_wm.runs.events import StepDone, read_events
from sana_wm.stages.__main__ import main


def complain_after_the_first_step() -> None:
    while not any(isinstance(event, StepDone) for event in read_events(harness.RUN.events_file(harness.STAGE))):
        time.sleep(0.001)
    while True:
        os.write(2, b"Error: command buffer exited with error status.\n\tInternal Error (0000000e:Internal Error)\n")
        time.sleep(0.01)


threading.Thread(target=complain_after_the_first_step, daemon=True).start()
sys.exit(main())
