"""The stage's log: what libraries say of model files and prompts must not steer the terminal that shows it."""

from __future__ import annotations

import contextlib
from typing import Any, TextIO

from sana_wm.errors import printable


class PrintableStream:
    """A text stream whose control characters are spelled out; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text as `printable` shows it; a full disk must not end a stage by way of its log."""
        with contextlib.suppress(OSError):
            self._stream.write(printable(text))
        return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
