"""What a command finds around it: standard streams, the environment, the working folder.

A run of hours must end as it went, whatever becomes of the terminal or file that its words go to; and what is set for
other programs of the user must not reach this one.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from typing import IO

from sana_wm.errors import UsageError

#: Settings of a user's own Python work: a backend for windows that is not here, warnings turned into errors.
FOREIGN_VARIABLES = ("MPLBACKEND", "PYTHONWARNINGS")


class _Lenient(io.FileIO):
    """A descriptor whose refusals are kept instead of raised: the words are lost, and nothing else is."""

    refusal: OSError | None = None

    def write(self, data: object, /) -> int:
        size_bytes = memoryview(data).nbytes  # pyright: ignore[reportArgumentType]
        try:
            return super().write(data)  # pyright: ignore[reportArgumentType]
        except OSError as error:
            self.refusal = self.refusal or error
            return size_bytes


def settle() -> None:
    """Put standard streams and the environment in order, before a command does anything."""
    for name in FOREIGN_VARIABLES:
        if os.environ.pop(name, None) is not None and name == "PYTHONWARNINGS":
            warnings.resetwarnings()
            warnings.simplefilter("ignore")  # what Python read when it started
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file that is opened would take its place, and our words with it
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _lenient(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _lenient(sys.stderr, sys.__stderr__, 2)


def require_working_folder() -> None:
    """Refuse to work in a folder that is gone: relative paths mean nothing there.

    Raises:
        UsageError: It is.
    """
    try:
        os.getcwd()  # noqa: PTH109  # a question to the system, not a path
    except OSError as error:
        raise UsageError(
            "the working folder is gone",
            got=error.strerror,
            expected="a folder that is there",
            next_step="Go into another one (cd), then run the command again.",
        ) from error


def tell_lost_words() -> None:
    """Say on standard error what standard output did not take; a reader that has left had enough."""
    sys.stdout.flush()
    refusal = getattr(getattr(getattr(sys.stdout, "buffer", None), "raw", None), "refusal", None)
    if isinstance(refusal, OSError) and refusal.errno != errno.EPIPE:
        sys.stderr.write(f"sana-wm: standard output did not take everything; got {refusal.strerror}\n")


def _lenient(stream: IO[str] | None, own: IO[str] | None, descriptor: int) -> IO[str]:
    """A standard stream of this process that raises neither for a character nor for a full disk; others stay."""
    if stream is not None and stream is not own:  # replaced by whoever called us
        return stream
    if stream is not None:
        stream.flush()
    encoding = stream.encoding if stream is not None else "utf-8"
    raw = _Lenient(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=descriptor == 2 or raw.isatty()
    )
