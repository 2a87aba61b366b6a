"""Progress for programs: one JSON object a line, on any file descriptor. Documented in docs/progress.md."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable

from sana_wm.errors import UsageError
from sana_wm.launcher.run_progress import ProgressEvent
from sana_wm.launcher.snapshot import RunSnapshot

STANDARD_OUTPUT = 1
#: Between two lines of which only the figures differ.
LINE_EVERY_S = 1.0
#: How long the end of the run waits for a reader to take the last line.
LAST_LINE_S = 5.0
#: A pipe that is ready takes this much without waiting (POSIX PIPE_BUF is 512 or more; Linux and macOS: 4096, 512).
CHUNK_BYTES = select.PIPE_BUF


class JsonProgress:
    """Writes a line when a stage, a phase or a step changes, and at least once a second besides.

    A reader that does not read must not hold up the run, whose memory nobody would watch meanwhile: lines of mere
    progress are dropped then, the others wait for the next chance. One that is gone ends the lines, not the run.
    """

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            os.fstat(descriptor)
        except OSError as error:
            raise UsageError(
                "--json-progress-fd names no open file",
                got=str(descriptor),
                expected="a file descriptor that the caller opened for writing",
                next_step="Leave it out to get the lines on standard output.",
            ) from error
        self._descriptor, self._clock = descriptor, clock
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLOUT)
        self._waiting = b""
        self._wrote_at_s = float("-inf")
        self._wrote: tuple[object, ...] = ()
        self._gone = False

    @property
    def on_standard_output(self) -> bool:
        """Whether the lines go where a command's own words would go."""
        return self._descriptor == STANDARD_OUTPUT

    def __call__(self, event: ProgressEvent, snapshot: RunSnapshot) -> None:
        """Write a line, if it is time to."""
        if self._gone:
            return
        state = (snapshot.stage, snapshot.phase, snapshot.step)
        if event == "progress":
            too_soon = state == self._wrote and self._clock() - self._wrote_at_s < LINE_EVERY_S
            if too_soon or self._waiting:
                self._flush()
                return
        self._wrote, self._wrote_at_s = state, self._clock()
        self._waiting += json.dumps({"event": event, **snapshot.as_json()}).encode() + b"\n"
        self._flush(LAST_LINE_S if event == "run_ended" else 0.0)

    def _flush(self, wait_s: float = 0.0) -> None:
        try:
            while self._waiting:
                if not self._ready.poll(1000 * wait_s):
                    return
                written = os.write(self._descriptor, self._waiting[:CHUNK_BYTES])
                self._waiting = self._waiting[written:]
        except OSError:
            self._gone = True
