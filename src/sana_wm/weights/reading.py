"""Reading what must be a plain file of a sane size: never a pipe that hangs or a device that does not end."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO

from sana_wm import plain_files
from sana_wm.errors import WeightsError
from sana_wm.plain_files import SpecialFileError

REPAIR = "Fetch it again: sana-wm weights download --replace, with your --manifest or --in (docs/weights.md)."
ALLOW = (
    "Allow it: chmod -R u+rX on the folder. On a Mac the system may forbid it to your terminal: System Settings > "
    "Privacy & Security > Files and Folders (or Full Disk Access), allow the terminal there and start it anew."
)
REFUSED = (errno.EACCES, errno.EPERM)  # macOS says EPERM for what its privacy settings forbid
#: The largest config or index that was seen has 0.5 MB; Gemma-3's tokenizer.json has 33 MB.
MAX_JSON_BYTES = 64 * 1024**2
MAX_TOKENIZER_BYTES = 256 * 1024**2


def open_plain(path: Path, what: str = "the file") -> BinaryIO:
    """Open a regular file for reading, or a link to one.

    Args:
        path: The file.
        what: What it is, for messages.

    Raises:
        WeightsError: It is not there, is something else, or may not be read.
    """
    try:
        return plain_files.open_plain(path)
    except SpecialFileError as error:
        raise WeightsError(f"{what} {path} is {error.kind}", expected="a regular file", next_step=REPAIR) from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error, what) from error


def read_plain(path: Path, what: str = "the file", limit_bytes: int = MAX_JSON_BYTES) -> bytes:
    """A small file's content.

    Raises:
        WeightsError: It cannot be read, or is larger than such a file can be.
    """
    with open_plain(path, what) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes > limit_bytes:
            raise WeightsError(
                f"{what} {path} is too large to be one",
                got=f"{size_bytes} bytes",
                expected=f"{limit_bytes} bytes at most",
                next_step=REPAIR,
            )
        try:
            return file.read(limit_bytes)
        except OSError as error:
            raise unreadable(path, error, what) from error


def is_file(path: Path) -> bool:
    """Whether there is a file, as far as we may look: where we may not, opening it says why."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder, as far as we may look."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_missing(path: Path) -> bool:
    """Whether there is certainly nothing, not even a link."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def parse_json(content: bytes | str) -> Any:
    """JSON of any depth and with any numbers.

    Raises:
        ValueError: It is none, or none that can be read.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


@contextlib.contextmanager
def naming_refusals() -> Generator[None]:
    """Say of what the system does not let us look at that it is about reading weights, and how to allow it.

    Raises:
        WeightsError: In place of a PermissionError.
    """
    try:
        yield
    except PermissionError as error:
        raise unreadable(Path(error.filename or "."), error, "the folder or file") from error


def unreadable(path: Path, error: OSError | ValueError, what: str = "the file") -> WeightsError:
    """Why a file or folder cannot be read, and what to do: fetching it again mends no permission and no cable."""
    if not isinstance(error, OSError):
        return WeightsError(f"{what} {path} cannot be read", got=error, next_step=REPAIR)
    why = error.strerror or str(error)
    if error.errno in REFUSED:
        return WeightsError(f"{what} {path} may not be read", got=why, expected="read permission", next_step=ALLOW)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        if path.is_symlink():
            step = "Connect the volume that it leads to, or copy the folder anew with its links followed (cp -RL)."
            return WeightsError(f"{what} {path} is a link that leads nowhere", got=path.readlink(), next_step=step)
        return WeightsError(f"{what} {path} cannot be read", got=why, next_step=REPAIR)
    step = "Look at the volume and its cable; if they are well, fetch the file again (docs/weights.md)."
    return WeightsError(f"{what} {path} cannot be read", got=why, next_step=step)
