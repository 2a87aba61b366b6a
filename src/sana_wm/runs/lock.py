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
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import psutil

from sana_wm.errors import HandoffError, RunDirectoryBusyError
from sana_wm.machine import machine_identity
from sana_wm.runs.run_directory import RunDirectory

#: Between opening the file and locking it, somebody may delete the directory; not often.
ATTEMPTS = 10
SUSPENDED = "suspended with Ctrl-Z: `fg` in its terminal goes on"


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
        os.fsdecode(run.path).encode()
    except UnicodeEncodeError:
        raise HandoffError(
            f"{run.path} is a name that safetensors cannot open",
            got="bytes that are not UTF-8",
            expected="a folder, and folders above it, with names in UTF-8",
            next_step="Rename them.",
        ) from None
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock = _open_and_lock(run)
    except BlockingIOError:
        owner = read_owner(run)
        raise RunDirectoryBusyError(
            f"{run.path} is in use",
            got=f"{owner or 'an owner that has not said who it is'}{f', {SUSPENDED}' if _sleeps(owner) else ''}",
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


def _sleeps(owner: Owner | None) -> bool:
    return owner is not None and owner.is_suspended()


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
            owner = json.dumps(asdict(Owner(os.getpid(), socket.gethostname(), machine_identity(), now))).encode()
            os.pwrite(lock, owner, 0)
            os.ftruncate(lock, len(owner))
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(lock)
            raise
        return lock
    raise OSError(errno.ESTALE, "its lock file is another one each time it is looked at")


@dataclass(frozen=True)
class Owner:
    """Who took a run directory last.

    Attributes:
        pid: Of the process.
        host: Name of its machine, for people.
        machine: What stays the same of its machine (`sana_wm.machine.machine_identity`).
        since: When it took the directory, ISO 8601 in UTC, to the second.
    """

    pid: int
    host: str
    machine: str
    since: str

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}, since {self.since}"

    def is_suspended(self) -> bool:
        """Whether the process was stopped with Ctrl-Z and waits for `fg`; never of one on another machine."""
        try:
            return self.machine == machine_identity() and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False

    def lives(self) -> bool:
        """Whether the process still runs; one on another machine counts as alive."""
        if self.machine != machine_identity():
            return True
        try:
            # A process that began after the lock was taken has only got the same number.
            return psutil.Process(self.pid).create_time() < datetime.fromisoformat(self.since).timestamp() + 1
        except psutil.Error:
            return False


def read_owner(run: RunDirectory) -> Owner | None:
    """Who took a run directory last; `None` when nobody did, or it has not said so yet.

    The lock itself would have to be taken to be looked at.
    """
    try:
        said = json.loads(run.lock_file.read_text(encoding="utf-8"))
        datetime.fromisoformat(said["since"])
        return Owner(int(said["pid"]), said["host"], said["machine"], said["since"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
