"""Progress for programs: one JSON object a line, on any file descriptor. Documented in docs/progress.md."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

from sana_wm.cli.background_stream import BackgroundWriter
from sana_wm.errors import UsageError
from sana_wm.progress.run_progress import ProgressEvent
from sana_wm.progress.snapshot import RunSnapshot

STANDARD_OUTPUT = 1
#: Between two lines of which only the figures differ.
LINE_EVERY_S = 1.0
#: With so much waiting for the reader, lines of mere progress are dropped.
MOST_WAITING_BYTES = 16 * 1024


class JsonProgress:
    """Writes a line when a stage, a phase or a step changes, and at least once a second besides.

    A reader that does not read must not hold up the run, whose memory nobody would watch meanwhile: lines of mere
    progress are dropped then, the others wait for it. One that is gone ends the lines, not the run.
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
        self._writer = BackgroundWriter(descriptor)
        self._wrote_at_s = float("-inf")
        self._wrote: tuple[object, ...] = ()

    @property
    def on_standard_output(self) -> bool:
        """Whether the lines go where a command's own words would go."""
        return self._descriptor == STANDARD_OUTPUT

    def __call__(self, event: ProgressEvent, snapshot: RunSnapshot) -> None:
        """Write a line, if it is time to."""
        state = (snapshot.stage, snapshot.phase, snapshot.step)
        if event == "progress":
            too_soon = state == self._wrote and self._clock() - self._wrote_at_s < LINE_EVERY_S
            if too_soon or self._writer.waiting_bytes > MOST_WAITING_BYTES:
                return
        self._wrote, self._wrote_at_s = state, self._clock()
        self._writer.put(json.dumps({"event": event, **snapshot.as_json()}).encode() + b"\n")
        if event == "run_ended":
            self._writer.drain()
