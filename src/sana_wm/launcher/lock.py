"""One owner of a run directory at a time, by an operating system lock: nobody who is gone can hold it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sana_wm.errors import HandoffError, RunDirectoryBusyError
from sana_wm.handoff.run_directory import RunDirectory

#: Between opening the file and locking it, somebody may delete the directory; not often.
ATTEMPTS = 10


@contextmanager
def owning(run: RunDirectory) -> Generator[int]:
    """Own the run directory while the block runs.

    Yields:
        The lock's file descriptor. Stages inherit it, so that a stage that outlives its parent keeps the directory.

    Raises:
        RunDirectoryBusyError: Another process owns it.
        HandoffError: It cannot be made, written or locked.
    """
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock = _open_and_lock(run)
    except BlockingIOError:
        raise RunDirectoryBusyError(
            f"{run.path} is in use",
            got=_read_owner(run.lock_file),
            expected="no running sana-wm in this directory",
            next_step="Wait for it (a stage without its parent ends after its step), or choose another output_dir.",
        ) from None
    except OSError as error:
        raise HandoffError(
            f"{run.path} cannot be owned",
            got=error.strerror or str(error),
            expected="a folder that you may write to, on a file system with locks and free space",
            next_step="Free some space, or choose another output_dir.",
        ) from error
    try:
        yield lock
    finally:
        os.close(lock)


def holds(run: RunDirectory, lock: int) -> bool:
    """Whether the lock is still the one of the directory under this path: not after its volume went away."""
    try:
        return os.path.samestat(os.fstat(lock), run.lock_file.lstat())
    except OSError:
        return False


def _open_and_lock(run: RunDirectory) -> int:
    for _ in range(ATTEMPTS):
        # Never through a link: the file is truncated below.
        lock = os.open(run.lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not holds(run, lock):  # the directory was deleted, or made anew, in between
                os.close(lock)
                continue
            now = datetime.now(UTC).isoformat(timespec="seconds")
            owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now}).encode()
            os.pwrite(lock, owner, 0)
            os.ftruncate(lock, len(owner))
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(lock)
            raise
        return lock
    raise OSError(errno.ESTALE, "its lock file is another one each time it is looked at")


def _read_owner(lock_file: Path) -> str:
    try:
        owner = json.loads(lock_file.read_text(encoding="utf-8"))
        return f"pid {owner['pid']} on {owner['host']}, since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "an owner that has not said who it is"
