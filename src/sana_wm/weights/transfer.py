"""One file from the hub to the disk: goes on where it stopped, and has its name only when its hash is right."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from sana_wm.durable import publish, remove_file
from sana_wm.errors import DownloadError, Problem
from sana_wm.plain_files import kind_of
from sana_wm.weights.hub import Hub
from sana_wm.weights.hub_answers import AnswerError, RemoteFile, RemoteRepository, Span
from sana_wm.weights.reading import open_plain
from sana_wm.weights.retries import GO_ON, HUB_ERRORS

READ_BYTES = 8 * 1024**2


class TransferView(Protocol):
    """Shows what is happening to files, one after the other."""

    def began(self, verb: str, name: str, total_bytes: int, here_bytes: int = 0) -> None:
        """A file is now being fetched or hashed; of one that is fetched so much is here."""
        ...

    def at(self, position_bytes: int) -> None:
        """So much of it is done."""
        ...

    def ended(self) -> None:
        """It is done, or given up."""
        ...


class Digests:
    """The hashes of one file, as its bytes pass by: SHA-256, and git's SHA-1 where the hub knows no other.

    Source: git hashes `blob`, the size, a zero byte and the content
    (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects).
    """

    def __init__(self, remote: RemoteFile) -> None:
        self._remote = remote
        self._sha256 = hashlib.sha256()
        self._git_sha1 = hashlib.sha1(f"blob {remote.size_bytes}\0".encode(), usedforsecurity=False)

    def copy(self) -> Digests:
        """These as they are now; both go on from here by themselves."""
        twin = Digests(self._remote)
        twin._sha256, twin._git_sha1 = self._sha256.copy(), self._git_sha1.copy()
        return twin

    def update(self, chunk: bytes) -> None:
        """Take more of the file."""
        self._sha256.update(chunk)
        if self._remote.sha256 is None:
            self._git_sha1.update(chunk)

    @property
    def sha256(self) -> str:
        """SHA-256 of what has passed."""
        return self._sha256.hexdigest()

    @property
    def compared(self) -> tuple[str, str | None]:
        """The hash of what has passed, and the hub's."""
        if self._remote.sha256 is not None:
            return self.sha256, self._remote.sha256
        return self._git_sha1.hexdigest(), self._remote.git_sha1


def part_of(destination: Path, remote: RemoteFile) -> Path:
    """Where a file lies until it is whole; the hash in its name keeps versions of it apart."""
    return destination.with_name(f"{destination.name}.{(remote.sha256 or remote.git_sha1 or '')[:12]}.part")


def _is_part_of(path: Path, destination: Path) -> bool:
    """Whether a file is one that `part_of` names: other programs leave `.part` files, too."""
    named = re.fullmatch(re.escape(destination.name) + r"\.[0-9a-f]{12}\.part", path.name)
    return named is not None and path.is_file() and not path.is_symlink()


def hash_file(path: Path, remote: RemoteFile, view: TransferView) -> Digests:
    """The hashes of a file on disk.

    Raises:
        WeightsError: It cannot be opened.
        OSError: It cannot be read to its end.
    """
    view.began("checking", remote.name, remote.size_bytes)
    try:
        with open_plain(path) as file:
            return _hash_open(file, remote, view)
    finally:
        view.ended()


def fetch_file(
    hub: Hub, repository: RemoteRepository, remote: RemoteFile, destination: Path, view: TransferView
) -> str:
    """Fetch one file, or the rest of it, and give it its name once its hash is the hub's.

    Returns:
        Its SHA-256.

    Raises:
        DownloadError: The hub refuses it, its content is wrong, or the disk fails. What came so far stays, unless it
            is wrong.
    """
    part = part_of(destination, remote)
    try:
        with _open_alone(part) as file:
            here_bytes = min(part.stat().st_size, remote.size_bytes)
            view.began("fetching", remote.name, remote.size_bytes, here_bytes)
            try:
                file.truncate(here_bytes)
                digests = _hash_open(file, remote, view)
                digests = _fetch_rest(hub, repository, remote, file, digests, view)
            finally:
                view.ended()
            _verify(digests, remote, part)
            publish(part, destination)
    except OSError as error:
        problem = Problem(str(destination), "this file cannot be written", error.strerror or str(error))
        raise DownloadError([problem]) from error
    for older in destination.parent.iterdir():  # of another version: nobody will ask for the rest of it
        if _is_part_of(older, destination):
            remove_file(older)
    return digests.sha256


def _fetch_rest(
    hub: Hub, repository: RemoteRepository, remote: RemoteFile, file: BinaryIO, digests: Digests, view: TransferView
) -> Digests:
    retries = hub.retries(repository.repo_id, remote.name)
    while (position := file.tell()) < remote.size_bytes:
        retries.begin()
        before = digests.copy()
        try:
            with hub.stream(repository, remote, position) as (span, chunks):
                if span.start_bytes < position:
                    hub.say(f"{remote.name}: the server sends all of it again; what is here is held against that")
                _take(span, chunks, file, digests, view)
        except HUB_ERRORS as error:
            retries.wait_after(error, file.tell() - position)
            continue
        if file.tell() < span.end_bytes and not span.is_measured:
            file.truncate(position)  # it ended in order and was not the file: a page of something in between
            file.seek(position)
            digests = before
        if file.tell() < remote.size_bytes:
            retries.wait_after(ConnectionError("the answer ended early"), file.tell() - position)
    file.flush()
    return digests


def _take(span: Span, chunks: Iterator[bytes], file: BinaryIO, digests: Digests, view: TransferView) -> None:
    """Append what arrives; what is here already must be the same, and is not written again."""
    here_bytes, arriving_at = file.tell(), span.start_bytes
    for chunk in chunks:
        known = chunk[: max(0, here_bytes - arriving_at)]
        if known:
            file.seek(arriving_at)
            if file.read(len(known)) != known:
                file.seek(here_bytes)
                raise AnswerError(
                    "what comes differs from what came before",
                    f"other bytes between {arriving_at} and {arriving_at + len(known)}",
                    next_step=f"If a browser opens any page as it should, delete {file.name} and begin anew.",
                )
            file.seek(here_bytes)
        arriving_at += len(chunk)
        fresh = chunk[len(known) :]
        if fresh:
            file.write(fresh)
            digests.update(fresh)
            here_bytes += len(fresh)
            view.at(here_bytes)


def _hash_open(file: BinaryIO, remote: RemoteFile, view: TransferView) -> Digests:
    """Hash an open file from its start; leaves it at its end."""
    digests, position = Digests(remote), 0
    file.seek(0)
    while chunk := file.read(READ_BYTES):
        digests.update(chunk)
        position += len(chunk)
        view.at(position)
    return digests


def _verify(digests: Digests, remote: RemoteFile, part: Path) -> None:
    got, expected = digests.compared
    if got != expected:
        part.unlink()
        raise DownloadError(
            [
                Problem(
                    remote.name,
                    "what came is not what the hub says, and was deleted",
                    got=f"hash {got}",
                    expected=expected,
                    next_step=f"{GO_ON} If it fails again, look for a proxy that changes content.",
                )
            ]
        )


@contextlib.contextmanager
def _open_alone(part: Path) -> Generator[BinaryIO]:
    """A partial file, open for reading and writing, that no other process writes to; ours, not what a link leads to."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(part, flags, 0o666), "a+b") as file:
        if kind := kind_of(os.fstat(file.fileno()).st_mode):
            raise DownloadError([Problem(str(part), f"this is {kind}", None, "a file", "Remove it.")])
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            problem = Problem(str(part), "another process is downloading this file", next_step="Wait for it.")
            raise DownloadError([problem]) from error
        yield file
