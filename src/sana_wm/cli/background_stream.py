"""Output that waits for nobody: who watches a run must not stop because its terminal or its reader did."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections import deque
from typing import IO

#: How long the end of a run waits for a reader to take the last words.
LAST_WORDS_S = 5.0
#: Text that waits for a reader; of more the oldest is dropped.
MOST_TEXT_BYTES = 64 * 1024
#: Between two tries on a descriptor that somebody else has set not to wait.
TRY_AGAIN_S = 0.05


class BackgroundWriter:
    """Writes to a file descriptor from a thread of its own.

    A terminal stopped with Ctrl-S, a full pipe or a volume that hangs holds up that thread alone, which dies with the
    process. On the descriptor itself: a thread stuck in a Python stream would hold the stream's lock at exit.

    Attributes:
        gone: Whether the reader is; then everything is dropped.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.gone = False

    @property
    def waiting_bytes(self) -> int:
        """What is not written yet."""
        with self._changed:
            return sum(map(len, self._waiting))

    def put(self, data: bytes, most_bytes: int | None = None) -> None:
        """Write when the reader takes it.

        Args:
            data: What to write.
            most_bytes: With more than this waiting the oldest pieces are dropped, each whole: what matters most is how
                it is now, and how it ended.
        """
        with self._changed:
            if self.gone:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="output", daemon=True)
                self._thread.start()
            self._waiting.append(data)
            # The first is being written.
            while most_bytes is not None and len(self._waiting) > 2 and sum(map(len, self._waiting)) > most_bytes:
                del self._waiting[1]
            self._changed.notify_all()

    def drain(self, wait_s: float = LAST_WORDS_S) -> None:
        """Wait until everything is written, or so long, or until Ctrl-C: who presses it does not want to wait."""
        with contextlib.suppress(KeyboardInterrupt), self._changed:
            self._changed.wait_for(lambda: not self._waiting, wait_s)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                data = self._waiting[0]
            self._write(data)
            with self._changed:
                if self.gone:
                    self._waiting.clear()
                else:
                    self._waiting.popleft()
                self._changed.notify_all()

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                time.sleep(TRY_AGAIN_S)
            except OSError:  # a closed terminal or pipe must not end the run
                self.gone = True
                return


class BackgroundStream(io.TextIOBase):
    """A text stream on a `BackgroundWriter`; drops what its reader is too slow for, each piece whole."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._writer = BackgroundWriter(descriptor)

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What text is written as."""
        return "utf-8"

    def write(self, text: str, /) -> int:
        """Take a piece of text."""
        self._writer.put(text.encode(self.encoding, "replace"), MOST_TEXT_BYTES)
        return len(text)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def drain(self) -> None:
        """Give the reader a moment to take the last words."""
        self._writer.drain()


def never_waiting(stream: IO[str]) -> IO[str] | BackgroundStream:
    """The stream's own output without its waiting; a stream in memory has no reader, and is given back."""
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:
        return stream
    stream.flush()
    return BackgroundStream(descriptor)
