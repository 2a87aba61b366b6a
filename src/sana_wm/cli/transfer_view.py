"""Files on their way, for people: a bar for each file on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from sana_wm.cli.figures import format_bytes
from sana_wm.errors import printable
from sana_wm.printing import drawing_stream
from sana_wm.weights.transfer import TransferView

PLAIN_LINE_EVERY_S = 10.0
WORTH_A_LINE_BYTES = 64 * 1024**2  # hashing less takes a moment


class OpenTransferView(TransferView, Protocol):
    """A view that is opened and closed, and takes words."""

    def __enter__(self) -> Self:
        """Open it."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        ...

    def say(self, line: str) -> None:
        """Show a line that stays."""
        ...

    def expect(self, total_bytes: int) -> None:
        """So much will be fetched, over all files; for the time that is left."""
        ...


def make_transfer_view() -> OpenTransferView:
    """The view that suits where standard error goes."""
    return BarView() if sys.stderr.isatty() else LineView()


class LineView:
    """One line when a file begins and every ten seconds."""

    def __init__(self) -> None:
        self._file = ("", "", 0)
        self._since_s, self._since_bytes = 0.0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def say(self, line: str) -> None:
        """Write a line."""
        sys.stderr.write(printable(line) + "\n")
        sys.stderr.flush()

    def expect(self, total_bytes: int) -> None:
        """Nothing: the plan has been said."""

    def began(self, verb: str, name: str, total_bytes: int) -> None:
        """Say so, unless it is over in a moment."""
        self._file, self._since_s, self._since_bytes = (verb, name, total_bytes), time.monotonic(), 0
        if verb == "fetching" or total_bytes >= WORTH_A_LINE_BYTES:
            self.say(f"{verb} {name} ({format_bytes(total_bytes)})")

    def at(self, position_bytes: int) -> None:
        """Say how far it is, if it is time to."""
        seconds = time.monotonic() - self._since_s
        if seconds >= PLAIN_LINE_EVERY_S:
            verb, name, total_bytes = self._file
            speed = format_bytes(round((position_bytes - self._since_bytes) / seconds))
            self.say(f"{verb} {name}: {format_bytes(position_bytes)} of {format_bytes(total_bytes)}, {speed}/s")
            self._since_s, self._since_bytes = time.monotonic(), position_bytes

    def ended(self) -> None:
        """Nothing: the next line says it."""


class BarView:
    """A bar for the file and, while fetching, one for all of them."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=drawing_stream(sys.stderr)),
        )
        self._file = self._progress.add_task("", visible=False)
        self._all = self._progress.add_task("all files", total=0, visible=False)
        self._before_bytes, self._is_fetching, self._size_bytes = 0, False, 0

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def say(self, line: str) -> None:
        """Write a line above the bars."""
        self._progress.console.print(escape(printable(line)), highlight=False)

    def expect(self, total_bytes: int) -> None:
        """Show the bar for all files."""
        self._progress.update(self._all, total=total_bytes, visible=total_bytes > 0)

    def began(self, verb: str, name: str, total_bytes: int) -> None:
        """Show the file's bar."""
        self._is_fetching, self._size_bytes = verb == "fetching", total_bytes
        self._progress.reset(
            self._file, description=escape(printable(f"{verb} {name}")), total=total_bytes, visible=True
        )

    def at(self, position_bytes: int) -> None:
        """Move both bars."""
        self._progress.update(self._file, completed=position_bytes)
        if self._is_fetching:
            self._progress.update(self._all, completed=self._before_bytes + position_bytes)

    def ended(self) -> None:
        """Hide the file's bar."""
        if self._is_fetching:
            self._before_bytes += self._size_bytes
        self._progress.update(self._file, visible=False)
