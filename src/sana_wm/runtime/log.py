"""The stage's log: what libraries say of model files and prompts must not steer the terminal that shows it."""

from __future__ import annotations

import contextlib

from sana_wm.printing import PrintableStream


class LogStream(PrintableStream):
    """A log: a full disk must not end a stage by way of it."""

    def write(self, text: str) -> int:
        """Write text, if it can be."""
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what was written, if it can be."""
        with contextlib.suppress(OSError):
            self.stream.flush()
