"""Files that somebody else put there: opened as regular files, or named for what they are.

A named pipe would be waited for without end, a device may never end, and a socket cannot be opened at all.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class SpecialFileError(OSError):
    """A path leads to something that is no regular file.

    Attributes:
        kind: What it is, in words.
    """

    def __init__(self, kind: str, path: Path) -> None:
        self.kind = kind
        super().__init__(errno.EINVAL, f"{kind}, not a regular file", str(path))


def kind_of(mode: int) -> str | None:
    """What a file's mode says it is, where it is not a regular file."""
    return next((kind for is_kind, kind in KINDS if is_kind(mode)), None)


def require_plain(path: Path) -> None:
    """Refuse what is no regular file, or no link to one; it is not opened.

    Raises:
        SpecialFileError: For what it is.
        OSError: Nothing is there, or it may not be looked at.
    """
    if kind := kind_of(path.stat().st_mode):
        raise SpecialFileError(kind, path)


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file for reading, or a link to one.

    Raises:
        SpecialFileError: It is something else.
        OSError: It cannot be opened.
    """
    require_plain(path)
    # Between the two looks it can have become a pipe: without O_NONBLOCK opening one waits for its other end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if kind := kind_of(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SpecialFileError(kind, path)
    return os.fdopen(descriptor, "rb")
