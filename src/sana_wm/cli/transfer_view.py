"""Files on their way, for people: two bars on a terminal, plain lines elsewhere; pace and time are of the whole."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from sana_wm.cli.transfer_pace import TransferPace
from sana_wm.errors import printable
from sana_wm.figures import format_bytes
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

    def sum_up(self) -> None:
        """Say what came, in which time."""
        ...


def make_transfer_view() -> OpenTransferView:
    """The view that suits where standard error goes."""
    return BarView() if sys.stderr.isatty() else LineView()


class LineView:
    """One line when a file begins and every ten seconds."""

    def __init__(self) -> None:
        self._file = ("", "", 0)
        self._said_s = 0.0
        self._whole = TransferPace()

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
        """Count from here on: the plan has been said."""
        self._whole.expect(total_bytes)
        self._said_s = time.monotonic()

    def sum_up(self) -> None:
        """Say what came, in which time."""
        if said := self._whole.sum_up():
            self.say(said)

    def began(self, verb: str, name: str, total_bytes: int, here_bytes: int = 0) -> None:
        """Say so, unless it is over in a moment."""
        self._file = (verb, name, total_bytes)
        if verb == "fetching":
            self._whole.began(here_bytes)
        else:
            self._said_s = time.monotonic()
        if verb == "fetching" or total_bytes >= WORTH_A_LINE_BYTES:
            self.say(f"{verb} {name} ({format_bytes(total_bytes)})")

    def at(self, position_bytes: int) -> None:
        """Say how far it is, if it is time to."""
        verb, name, total_bytes = self._file
        if verb == "fetching":
            self._whole.at(position_bytes)
        if time.monotonic() - self._said_s < PLAIN_LINE_EVERY_S:
            return
        self._said_s = time.monotonic()
        line = f"{verb} {name}: {format_bytes(position_bytes)} of {format_bytes(total_bytes)}"
        self.say(f"{line}; of all: {self._whole.describe()}" if verb == "fetching" else line)

    def ended(self) -> None:
        """Nothing: the next line says it."""


class BarView:
    """A bar for the file and, while fetching, one for all of them."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[pace]}"),
            console=Console(file=drawing_stream(sys.stderr)),
        )
        self._file = self._progress.add_task("", visible=False, pace="")
        self._all = self._progress.add_task("all files", total=0, visible=False, pace="")
        self._is_fetching = False
        self._whole = TransferPace()

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
        self._whole.expect(total_bytes)
        self._progress.update(self._all, total=total_bytes, visible=total_bytes > 0)

    def sum_up(self) -> None:
        """Say what came, in which time."""
        if said := self._whole.sum_up():
            self.say(said)

    def began(self, verb: str, name: str, total_bytes: int, here_bytes: int = 0) -> None:
        """Show the file's bar."""
        self._is_fetching = verb == "fetching"
        if self._is_fetching:
            self._whole.began(here_bytes)
        self._progress.reset(
            self._file, description=escape(printable(f"{verb} {name}")), total=total_bytes, visible=True
        )

    def at(self, position_bytes: int) -> None:
        """Move both bars."""
        self._progress.update(self._file, completed=position_bytes)
        if self._is_fetching:
            self._whole.at(position_bytes)
            self._progress.update(self._all, completed=self._whole.come_bytes, pace=self._whole.describe_pace())

    def ended(self) -> None:
        """Hide the file's bar."""
        self._progress.update(self._file, visible=False)
