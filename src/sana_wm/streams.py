"""Standard output and error whose reader may leave: a closed pipe or terminal changes no result and no exit code."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Raw(io.FileIO):
    """A descriptor that drops what nobody can read any more, or all that the system refuses."""

    def __init__(self, descriptor: int, *, loses_all: bool) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._loses_all = loses_all
        # A terminal that was closed says EIO, as a failing disk does; and is none any more when it is asked then.
        self._gone = (errno.EPIPE, errno.EIO) if self.isatty() else (errno.EPIPE,)

    def write(self, data: ReadableBuffer, /) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            if not self._loses_all and error.errno not in self._gone:
                raise
            return memoryview(data).nbytes


def outlive(stream: TextIO | None, *, loses_all: bool = False) -> TextIO:
    """A stream like a standard one that goes on when its reader has left; one in memory has no reader and stays.

    Args:
        stream: The stream; `None`, as Python has it where the descriptor was closed, becomes one in memory.
        loses_all: Whether it goes on after every other error, too, such as that of a full disk.
    """
    if stream is None:
        return io.StringIO()
    buffer = getattr(stream, "buffer", None)
    is_unbuffered = isinstance(buffer, io.FileIO)  # as PYTHONUNBUFFERED makes it
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(getattr(buffer, "raw", buffer), io.FileIO):
        return stream
    stream.flush()
    raw = _Raw(stream.fileno(), loses_all=loses_all)
    return io.TextIOWrapper(
        raw if is_unbuffered else io.BufferedWriter(raw),  # pyright: ignore[reportArgumentType]
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=loses_all or stream.line_buffering,
        write_through=stream.write_through,
    )
