"""Folders that this process holds open: what is written below one goes through its handle, or not at all.

A path says where something was. After a move, a deletion or an unmount it leads to nothing, or to another folder; the
handle still leads to what was opened. Below a held folder no link is followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from sana_wm.errors import HandoffError

#: How a folder is opened for its handle.
AS_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: How a volume says that it does not know an operation: exFAT, SMB, some FUSE volumes.
UNKNOWN = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY)

_held: dict[Path, int] = {}
_told: set[str] = set()


@contextlib.contextmanager
def holding(folder: Path, descriptor: int | None = None) -> Generator[int]:
    """Hold a folder while the block runs.

    Args:
        folder: The folder; it may be reached through a link.
        descriptor: Its handle where it is open already; the caller closes it.

    Yields:
        Its handle.

    Raises:
        HandoffError: It cannot be opened.
    """
    try:
        handle = os.open(folder, AS_FOLDER) if descriptor is None else descriptor
    except OSError as error:
        raise HandoffError(
            f"{folder} cannot be opened",
            got=error.strerror,
            expected="a folder that is there",
            next_step="Check the path and its volume; then run the command again.",
        ) from error
    before = _held.get(folder)
    _held[folder] = handle
    try:
        yield handle
    finally:
        del _held[folder]
        if before is not None:
            _held[folder] = before
        if descriptor is None:
            os.close(handle)


@contextlib.contextmanager
def open_folder(folder: Path, *, make: bool = False) -> Generator[int]:
    """A handle of a folder while the block runs, by way of the held folder that it lies in.

    Args:
        folder: The folder.
        make: Make it, and those above it, where they are missing; a held folder itself is never made again.

    Raises:
        HandoffError: The held folder went away.
        OSError: It cannot be opened or made, or is reached through a link in the held one.
    """
    root = next((path for path in (folder, *folder.parents) if path in _held), None)
    if root is None:
        if make:
            _make_folders(folder)
        handle = os.open(folder, AS_FOLDER)
    else:
        _require_here(root)
        handle = _descend(_held[root], folder.relative_to(root).parts, make=make)
    try:
        yield handle
    finally:
        os.close(handle)


def sync_folder(handle: int) -> None:
    """Flush what a folder names to the disk; a volume that cannot is passed over with a word."""
    pass_over(UNKNOWN, "flush folders: after a power cut the newest files may be missing", lambda: os.fsync(handle))


def pass_over(numbers: Sequence[int], what: str, action: Callable[[], object]) -> None:
    """Do what not every volume can; the first time that it cannot, standard error says so.

    Args:
        numbers: The errors that mean just that.
        what: What cannot be done, and what follows.
        action: Does it.
    """
    try:
        action()
    except OSError as error:
        if error.errno not in numbers:
            raise
        if what not in _told:
            _told.add(what)
            with contextlib.suppress(OSError):
                sys.stderr.write(f"note: this volume cannot {what} ({error.strerror})\n")


def _require_here(root: Path) -> None:
    try:
        is_here = os.path.samestat(root.stat(), os.fstat(_held[root]))
    except OSError:
        is_here = False
    if not is_here:
        raise HandoffError(
            f"{root} went away",
            got="another folder, or none, under this path",
            expected="the folder that was opened",
            next_step="Bring it, or its volume, back to this path; then run the command again.",
        )


def _descend(root: int, names: Sequence[str], *, make: bool) -> int:
    handle = os.dup(root)
    for name in names:
        try:
            below = _enter(handle, name, make=make)
        finally:
            os.close(handle)
        handle = below
    return handle


def _enter(handle: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, AS_FOLDER | os.O_NOFOLLOW, dir_fd=handle)
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=handle)
        sync_folder(handle)
    return os.open(name, AS_FOLDER | os.O_NOFOLLOW, dir_fd=handle)


def _make_folders(folder: Path) -> None:
    """Make a folder, and those above it, so that a power cut does not take the entry that names it."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        with open_folder(made.parent) as handle:
            sync_folder(handle)
