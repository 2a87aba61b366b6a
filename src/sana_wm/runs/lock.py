"""One owner of a run directory at a time, by an operating system lock: nobody who is gone can hold it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shlex
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated

import psutil
from pydantic import AwareDatetime, Field

from sana_wm.errors import HandoffError, RunDirectoryBusyError
from sana_wm.held import AS_FOLDER, holding
from sana_wm.machine import machine_identity
from sana_wm.records import OpenRecord, read_record
from sana_wm.runs.links_refused import refuse_links
from sana_wm.runs.run_directory import RunDirectory

#: Between opening the file and locking it, somebody may delete the directory; not often.
ATTEMPTS = 10
SUSPENDED = "suspended with Ctrl-Z: `fg` in its terminal goes on"


@dataclass(frozen=True)
class Ownership:
    """A run directory that is owned: open files that stages inherit.

    Attributes:
        run: The directory.
        lock: Its lock file, so that a stage that outlives its parent keeps the directory.
        folder: The directory itself, so that a stage works in the one that is locked.
    """

    run: RunDirectory
    lock: int
    folder: int

    def holds(self) -> bool:
        """Whether the lock is still the one of the directory under this path: not after its volume went away."""
        try:
            return os.path.samestat(os.fstat(self.lock), self.run.lock_file.lstat())
        except OSError:
            return False

    def close(self) -> None:
        """Let go of the directory."""
        with contextlib.suppress(OSError):
            os.close(self.lock)
        with contextlib.suppress(OSError):
            os.close(self.folder)


@contextmanager
def owning(run: RunDirectory) -> Generator[Ownership]:
    """Own the run directory while the block runs; all that is written in it goes through its handle.

    Raises:
        RunDirectoryBusyError: Another process owns it.
        HandoffError: It cannot be made, written or locked, or holds a link.
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
        owned = _open_and_lock(run)
    except BlockingIOError:
        owner = read_owner(run)
        raise RunDirectoryBusyError(
            f"{run.path} is in use",
            got=f"{owner or 'an owner that has not said who it is'}{f', {SUSPENDED}' if _sleeps(owner) else ''}",
            expected="no running sana-wm in this directory",
            next_step=f"How far it is: sana-wm status {shlex.quote(str(run.path))}. Wait for it (a stage without its "
            "parent ends after its step), or choose another output_dir.",
        ) from None
    except OSError as error:
        raise HandoffError(
            f"{run.path} cannot be owned",
            got=error.strerror or str(error),
            expected="a folder that you may write to, on a file system with locks and free space",
            next_step="Free some space, or choose another output_dir.",
        ) from error
    try:
        refuse_links(run.path)
        with holding(run.path, owned.folder):
            yield owned
    finally:
        owned.close()


def _sleeps(owner: Owner | None) -> bool:
    return owner is not None and owner.is_suspended()


def _open_and_lock(run: RunDirectory) -> Ownership:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC  # never through a link: it is truncated below
    for _ in range(ATTEMPTS):
        folder = os.open(run.path, AS_FOLDER)
        try:
            owned = Ownership(run, os.open(run.lock_file.name, flags, 0o644, dir_fd=folder), folder)
        except OSError:
            os.close(folder)
            raise
        try:
            fcntl.flock(owned.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not owned.holds():  # the directory was deleted, or made anew, in between
                owned.close()
                continue
            now = datetime.now(UTC).isoformat(timespec="seconds")
            owner = json.dumps(asdict(Owner(os.getpid(), socket.gethostname(), machine_identity(), now))).encode()
            os.pwrite(owned.lock, owner, 0)
            os.ftruncate(owned.lock, len(owner))
        except BaseException:
            owned.close()
            raise
        return owned
    raise OSError(errno.ESTALE, "its lock file is another one each time it is looked at")


def is_owned(run: RunDirectory) -> bool:
    """Whether somebody owns a run directory now; asks for a shared lock, which is let go at once."""
    try:
        lock = os.open(run.lock_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


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

    def is_elsewhere(self) -> bool:
        """Whether it was on another machine, whose processes cannot be asked for."""
        return self.machine != machine_identity()

    def lives(self) -> bool:
        """Whether the process still runs on this machine."""
        if self.is_elsewhere():
            return False
        try:
            # A process that began after the lock was taken has only got the same number.
            return psutil.Process(self.pid).create_time() < datetime.fromisoformat(self.since).timestamp() + 1
        except psutil.Error:
            return False


def read_owner(run: RunDirectory) -> Owner | None:
    """Who took a run directory last; `None` when nobody did, or it has not said so yet.

    The lock itself would have to be taken to be looked at.
    """
    said = read_record(run.lock_file, _OwnerRecord)
    return None if said is None else Owner(said.pid, said.host, said.machine, said.since.isoformat())


class _OwnerRecord(OpenRecord):
    """What the lock file says, of the sizes that a process and a date can have."""

    pid: Annotated[int, Field(ge=1, lt=2**31)]
    host: str
    machine: str
    since: AwareDatetime
