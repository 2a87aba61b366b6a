"""What a stage tells its parent while it runs: JSON lines in `events/STAGE.jsonl`."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sana_wm.durable import open_to_append, remove_file
from sana_wm.runs.events import DeviceUse, Event, now_s, to_line
from sana_wm.runtime.memory import EngineMemory

DEVICE_SAMPLE_EVERY_S = 0.5


class EventWriter:
    """Appends one JSON object per line; a reader that meets half a line waits for the rest."""

    def __init__(self, path: Path) -> None:
        remove_file(path)
        self._file = io.TextIOWrapper(open_to_append(path), encoding="utf-8", line_buffering=True)
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        """Write one event.

        Raises:
            OSError: It cannot be written.
        """
        line = to_line(event)
        with self._lock:
            self._file.write(line)

    def report_device_memory(self, *memories: EngineMemory) -> None:
        """Report the device's memory twice a second from now on; a CPU has none of its own.

        The parent cannot see it otherwise: the system's figures do not show Metal or CUDA memory of another process.

        Args:
            memories: Every allocator of this process; those of one kind are one.
        """
        own = list({type(memory): memory for memory in memories if memory.read().driver_bytes is not None}.values())
        if own:
            threading.Thread(target=self._sample_device, args=(own,), daemon=True).start()

    def _sample_device(self, memories: Sequence[EngineMemory]) -> None:
        while True:
            readings = [memory.read() for memory in memories]
            use = DeviceUse(
                time_s=now_s(),
                device_bytes=sum(reading.driver_bytes or 0 for reading in readings),
                current_bytes=sum(reading.current_bytes or 0 for reading in readings),
            )
            with contextlib.suppress(OSError):  # the disk may be full: the stage itself says so
                self.emit(use)
            time.sleep(DEVICE_SAMPLE_EVERY_S)
