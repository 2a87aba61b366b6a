"""Files that are here already under another name: what two repositories share comes once.

A file is another one's twin by the hub's SHA-256 alone, never by its name. It is linked: a second name for the same
bytes where both lie on one volume, otherwise a link that leads to the other.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from sana_wm.durable import part_path
from sana_wm.errors import WeightsError
from sana_wm.weights.hub_answers import RemoteFile
from sana_wm.weights.known_hashes import SHA256, find_known_hash
from sana_wm.weights.record import read_record
from sana_wm.weights.transfer import TransferView, hash_file

MIN_SHARED_BYTES = 16 * 1024**2  # what is smaller is fetched before it is found
MAX_DEPTH, MAX_ENTRIES = 4, 20_000  # of a folder that is looked through


class Twins:
    """Looks for files by their hash.

    Args:
        folders: Where: each with all that lies in it, four folders deep.
        view: Shows what is hashed: files that nobody has a hash of.
    """

    def __init__(self, folders: Iterable[Path], view: TransferView) -> None:
        self._folders = tuple(folders)
        self._view = view
        self._hashes: dict[Path, str | None] = {}

    def find(self, remote: RemoteFile, destination: Path) -> Path | None:
        """A file with the bytes of a file of the hub, by what is known of it or found by hashing it.

        Args:
            remote: The file.
            destination: Where it shall lie; that is none of its twins.
        """
        if remote.sha256 is None or remote.size_bytes < MIN_SHARED_BYTES:
            return None
        for path in self._by_size.get(remote.size_bytes, ()):
            if path != destination and self._hash_of(path, remote) == remote.sha256:
                return path
        return None

    @cached_property
    def _by_size(self) -> dict[int, list[Path]]:
        found: dict[int, list[Path]] = {}
        for path in dict.fromkeys(path for folder in self._folders for path in _files_in(folder)):
            with contextlib.suppress(OSError):
                size_bytes = path.stat().st_size
                if size_bytes >= MIN_SHARED_BYTES:
                    found.setdefault(size_bytes, []).append(path)
        return found

    def _hash_of(self, path: Path, remote: RemoteFile) -> str | None:
        if path not in self._hashes:
            self._hashes[path] = _claimed_hash(path)
        if self._hashes[path] is None:
            with contextlib.suppress(WeightsError, OSError):
                self._hashes[path] = hash_file(path, remote, self._view).sha256
        return self._hashes[path]


def link_twin(twin: Path, remote: RemoteFile, destination: Path, view: TransferView) -> str | None:
    """Give a file here a second name, once its bytes were found to be the hub's.

    The folder of `destination` is there: made anew it would be on another volume where its own has gone.

    Returns:
        How, in words; None if its bytes are not what they were said to be, or no link can be made.
    """
    target = twin.resolve()
    link = part_path(destination)
    try:
        if hash_file(target, remote, view).sha256 != remote.sha256:
            return None
        link.unlink(missing_ok=True)
        how = "is a second name of"
        try:
            link.hardlink_to(target)
        except OSError:  # another volume, or one that has no second names
            link.symlink_to(target)
            how = "leads to"
        link.replace(destination)
    except (WeightsError, OSError):
        return None
    return f"{destination} {how} {target}: not fetched"


def _files_in(folder: Path) -> Iterator[Path]:
    entries = 0
    for place, below, names in os.walk(folder):
        here = Path(place)
        entries += len(names) + len(below)
        if entries > MAX_ENTRIES:
            return
        if len(here.relative_to(folder).parts) >= MAX_DEPTH:
            below.clear()
        yield from (here / name for name in sorted(names) if not name.endswith(".part"))


def _claimed_hash(path: Path) -> str | None:
    """What a record of ours, the name of a blob or a note of another client says; it is checked before it counts."""
    if path.parent.name == "blobs" and re.fullmatch(SHA256, path.name):
        return path.name
    for folder in list(path.parents)[:MAX_DEPTH]:
        with contextlib.suppress(WeightsError):
            record = read_record(folder)
            name = path.relative_to(folder).as_posix()
            if record is not None and name in record.files:
                return record.files[name].sha256
    witness = find_known_hash(path)
    return None if witness is None else witness.remote.sha256
