"""What is known offline of a file's hash: hub clients write it into names and notes beside the files.

A hub cache holds each file as `blobs/HASH` and links to it (SHA-256 for large files, git's SHA-1 of the blob for small
ones); `hf download --local-dir` leaves `.cache/huggingface/download/NAME.metadata` with commit, hash and time.
Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sana_wm.errors import WeightsError
from sana_wm.weights.hub_answers import RemoteFile
from sana_wm.weights.reading import is_file, read_plain

SHA256, SHA1 = r"[0-9a-f]{64}", r"[0-9a-f]{40}"
MAX_NOTE_BYTES = 4096


@dataclass(frozen=True)
class KnownHash:
    """The hub's hash of a file.

    Attributes:
        remote: The file with its hash.
        source: Who says so, in words.
    """

    remote: RemoteFile
    source: str


def find_known_hash(path: Path) -> KnownHash | None:
    """What a hub's client left that says what a file's hash should be."""
    target = path.resolve()
    if target != path.absolute() and target.parent.name == "blobs":
        return _as_known(path, target.name, "the name of its blob in the hub cache")
    for folder in list(path.absolute().parents)[:4]:
        note = folder / ".cache" / "huggingface" / "download" / f"{path.absolute().relative_to(folder)}.metadata"
        if is_file(note):
            try:
                lines = read_plain(note, limit_bytes=MAX_NOTE_BYTES).decode(errors="replace").splitlines()
            except WeightsError:
                return None
            return _as_known(path, lines[1], "the note of hf download") if len(lines) > 1 else None
    return None


def _as_known(path: Path, digest: str, source: str) -> KnownHash | None:
    is_sha256, is_sha1 = re.fullmatch(SHA256, digest), re.fullmatch(SHA1, digest)
    if not is_sha256 and not is_sha1:
        return None
    size_bytes = path.stat().st_size
    remote = RemoteFile(path.name, size_bytes, digest if is_sha256 else None, digest if is_sha1 else None)
    return KnownHash(remote, source)
