"""The files of the hub that stages need: asked for, the small indexes fetched, those left out that nothing reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sana_wm.durable import make_folder
from sana_wm.errors import DownloadError, Problem
from sana_wm.weights.conversion import read_conversion
from sana_wm.weights.download_problems import FOREIGN, INDEX
from sana_wm.weights.facts import Repository
from sana_wm.weights.hub import Hub
from sana_wm.weights.hub_answers import RemoteFile, RemoteRepository
from sana_wm.weights.layout import Component, read_weight_map
from sana_wm.weights.places import WeightPlaces
from sana_wm.weights.reading import is_file
from sana_wm.weights.record import RecordedFile
from sana_wm.weights.transfer import TransferView, fetch_file, hash_file

ALWAYS_HASHED_BYTES = 64 * 1024**2  # a file so small is hashed in a moment; for a larger one the record is believed


@dataclass(frozen=True)
class SkippedFile:
    """A file that is left out, and why."""

    repo_id: str
    name: str
    size_bytes: int
    why: str


class NeededFile(NamedTuple):
    """A file that some stage needs, or may need, and where it is looked for."""

    repository: Repository
    remote: RemoteRepository
    file: RemoteFile
    path: Path


def open_all(hub: Hub, repositories: tuple[Repository, ...]) -> list[tuple[Repository, RemoteRepository]]:
    """Every repository, asked for before any is downloaded: a gate at the last one shall not show after 90 GB."""
    remotes: list[tuple[Repository, RemoteRepository]] = []
    problems: list[Problem] = []
    for repository in repositories:
        try:
            remotes.append((repository, hub.open_repository(repository.repo_id)))
        except DownloadError as error:
            problems += error.problems
    if problems:
        raise DownloadError(problems)
    return remotes


def fetch_indexes(hub: Hub, needed: Sequence[NeededFile], view: TransferView, *, replace: bool) -> set[Path]:
    """Fetch the indexes that are not here; returns the shards that they name."""
    named: set[Path] = set()
    for one in needed:
        if not one.file.name.endswith(INDEX):
            continue
        if not one.path.exists() or (replace and not sha256_if_same(one.path, one.file, None, view)):
            make_folder_for_download(one.path.parent)
            fetch_file(hub, one.remote, one.file, one.path, view)
        named |= {one.path.with_name(shard) for shard in read_weight_map(one.path).values()}
    return named


def without_skipped(
    needed: Sequence[NeededFile], places: WeightPlaces, student: Component, read: set[Path], named: set[Path]
) -> tuple[list[NeededFile], list[SkippedFile]]:
    """The files that are wanted, and those that are not, with the reason.

    Args:
        needed: Those of the repositories.
        places: Where they lie or shall lie.
        student: The transformer, which may come as a checkpoint that is converted.
        read: The shards that the stages read.
        named: The shards that indexes name.
    """
    wanted: list[NeededFile] = []
    skipped: list[SkippedFile] = []
    for one in needed:
        destination = places.path_of(one.repository, one.file.name)
        is_read = one.path in read or destination == student.checkpoint
        why = _why_skipped(one.path, is_read=is_read, is_named=one.path in named)
        if why := why or _why_converted(student, destination, one.file):
            skipped.append(SkippedFile(one.remote.repo_id, one.file.name, one.file.size_bytes, why))
        else:
            wanted.append(one)
    return wanted, skipped


def _why_skipped(path: Path, *, is_read: bool, is_named: bool) -> str | None:
    if path.suffix in FOREIGN and not is_read:
        return "not a safetensors file"
    if path.suffix != ".safetensors" or is_read:
        return None
    return "holds only tensors that nothing reads" if is_named else "not part of this layout"


def _why_converted(student: Component, destination: Path, file: RemoteFile) -> str | None:
    """Why a checkpoint that is gone need not come again."""
    if destination != student.checkpoint or is_file(destination) or not is_converted(student, file):
        return None
    return "converted already"


def is_converted(student: Component, file: RemoteFile) -> bool:
    """Whether a checkpoint on the hub is the one that was converted here."""
    conversion = read_conversion(student)
    return conversion is not None and conversion.source_sha256 == file.sha256


def sha256_if_same(path: Path, file: RemoteFile, recorded: RecordedFile | None, view: TransferView) -> str | None:
    """The SHA-256 of a file on disk if it is the hub's."""
    if path.stat().st_size != file.size_bytes:
        return None
    if recorded and file.size_bytes > ALWAYS_HASHED_BYTES and recorded.sha256 == file.sha256:
        return recorded.sha256
    digests = hash_file(path, file, view)
    got, expected = digests.compared
    return digests.sha256 if got == expected else None


def make_folder_for_download(folder: Path) -> None:
    """Make a folder.

    Raises:
        DownloadError: It cannot be made.
    """
    try:
        make_folder(folder)
    except OSError as error:
        raise DownloadError([Problem(str(folder), "this folder cannot be made", error.strerror)]) from error
