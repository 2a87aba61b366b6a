"""Download what stages read: planned before the first large byte, checked for room, each file whole or not there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sana_wm.durable import make_folder
from sana_wm.errors import DownloadError, Problem
from sana_wm.names import Stage
from sana_wm.weights.facts import Repository
from sana_wm.weights.hub import Hub
from sana_wm.weights.hub_answers import NO_MIRROR, RemoteFile, RemoteRepository
from sana_wm.weights.layout import WeightLayout, read_weight_map
from sana_wm.weights.places import WeightPlaces, is_needed
from sana_wm.weights.reading import MAX_JSON_BYTES, naming_refusals
from sana_wm.weights.record import RecordedFile, WeightRecord, read_record, write_record
from sana_wm.weights.transfer import TransferView, fetch_file, hash_file, part_of

INDEX = ".safetensors.index.json"
#: Pickles and other frameworks' weights: never read here, though some repositories carry them beside the safetensors.
FOREIGN = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5", ".onnx", ".gguf")
RESERVE_BYTES = 256 * 1024**2  # a volume that is full to its last byte helps nobody
ALWAYS_HASHED_BYTES = 64 * 1024**2  # a file so small is hashed in a moment; for a larger one the record is believed


@dataclass(frozen=True)
class PlannedFile:
    """A file that the stages read.

    Attributes:
        repository: Its repository at the commit that is downloaded.
        remote: The file there.
        folder: The repository's folder here, where its record lies.
        destination: Where the file lies or will lie.
        missing_bytes: What must still come.
        sha256: Of a file that is here and is the hub's; None for one that must be fetched.
    """

    repository: RemoteRepository
    remote: RemoteFile
    folder: Path
    destination: Path
    missing_bytes: int
    sha256: str | None


@dataclass(frozen=True)
class SkippedFile:
    """A file that is left out, and why."""

    repo_id: str
    name: str
    size_bytes: int
    why: str


@dataclass(frozen=True)
class DownloadPlan:
    """What a download will do."""

    files: tuple[PlannedFile, ...]
    skipped: tuple[SkippedFile, ...]

    @property
    def missing_bytes(self) -> int:
        """What must still come."""
        return sum(file.missing_bytes for file in self.files)

    @property
    def skipped_bytes(self) -> int:
        """What is spared."""
        return sum(file.size_bytes for file in self.skipped)


@naming_refusals()
def plan_download(
    hub: Hub,
    places: WeightPlaces,
    stages: tuple[Stage, ...],
    view: TransferView,
    *,
    replace: bool = False,
    index_places: WeightPlaces | None = None,
) -> DownloadPlan:
    """Ask the hub what there is, fetch the small indexes, and say what must come.

    Args:
        hub: The hub.
        places: Where the files lie or shall lie.
        stages: The stages that they are for.
        view: Shows what is hashed and fetched.
        replace: Hash what is here, and plan to replace what differs.
        index_places: Where to put the indexes instead of their places, for a plan that must not change anything.

    Raises:
        DownloadError: With every problem of all repositories.
        WeightsError: An index or a download record cannot be read.
    """
    known = index_places or places
    remotes = _open_all(hub, places.repositories(stages))
    needed = [
        (repository, remote, file)
        for repository, remote in remotes
        for file in remote.files
        if is_needed(repository, file.name, stages)
    ]
    if clashes := list(_find_clashes([(known.path_of(repository, file.name), file) for repository, _, file in needed])):
        raise DownloadError(clashes)
    named: set[Path] = set()
    for repository, remote, file in needed:
        if file.name.endswith(INDEX):
            index = known.path_of(repository, file.name)
            if not index.exists() or (replace and not _is_same(index, file, None, view)):
                fetch_file(hub, remote, file, index, view)
            named |= {index.with_name(shard) for shard in read_weight_map(index).values()}
    layout = known.layout()
    read = {shard for stage in stages for part in layout.of_stage(stage) for shard in part.shards}
    files: list[PlannedFile] = []
    skipped: list[SkippedFile] = []
    problems = list(_find_lacking(layout, stages, {known.path_of(entry[0], entry[2].name) for entry in needed}))
    records = {repository.repo_id: read_record(places.folder_of(repository)) for repository, _ in remotes}
    for repository, remote, file in needed:
        path = known.path_of(repository, file.name)
        if why := _why_skipped(path, is_read=path in read, is_named=path in named):
            skipped.append(SkippedFile(remote.repo_id, file.name, file.size_bytes, why))
            continue
        planned = _plan_file(places, repository, remote, file, records[repository.repo_id], view, replace=replace)
        if isinstance(planned, Problem):
            problems.append(planned)
        else:
            files.append(planned)
    problems += _find_no_room(files)
    if problems:
        raise DownloadError(problems)
    return DownloadPlan(tuple(files), tuple(skipped))


def run_download(hub: Hub, plan: DownloadPlan, view: TransferView) -> None:
    """Fetch what is missing, one file after the other, and keep the record of each folder up to date.

    Raises:
        DownloadError: A file cannot be had; those before it are whole, and it goes on where it stopped.
    """
    _make_folders(plan)
    for file in plan.files:
        sha256 = file.sha256 or fetch_file(hub, file.repository, file.remote, file.destination, view)
        before = read_record(file.folder) or WeightRecord(repo_id=file.repository.repo_id, commit="")
        after = before.model_copy(update={"repo_id": file.repository.repo_id, "commit": file.repository.commit})
        after = after.having(file.remote.name, RecordedFile(size_bytes=file.remote.size_bytes, sha256=sha256))
        if after != before:
            try:
                write_record(file.folder, after)
            except OSError as error:
                problem = Problem(str(file.folder), "the download record cannot be written", error.strerror)
                raise DownloadError([problem]) from error


def _make_folders(plan: DownloadPlan) -> None:
    """All before the first byte: made again later, where a volume has gone, they would be on the system's own disk."""
    for file in plan.files:
        try:
            make_folder(file.destination.parent)
        except OSError as error:
            problem = Problem(str(file.destination.parent), "this folder cannot be made", error.strerror)
            raise DownloadError([problem]) from error


def _open_all(hub: Hub, repositories: tuple[Repository, ...]) -> list[tuple[Repository, RemoteRepository]]:
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


def _find_clashes(needed: list[tuple[Path, RemoteFile]]) -> Iterator[Problem]:
    """Files that cannot lie beside one another on every volume, and indexes that are none."""
    seen: dict[str, str] = {}
    for path, file in needed:
        folded = str(path).casefold()
        if folded in seen:
            yield Problem(file.name, "the hub has two files of this name", got=seen[folded], next_step=NO_MIRROR)
        seen[folded] = file.name
        if file.name.endswith(INDEX) and file.size_bytes > MAX_JSON_BYTES:
            got, right = f"{file.size_bytes} bytes", f"{MAX_JSON_BYTES} bytes at most"
            yield Problem(file.name, "this is too large for an index", got, right, NO_MIRROR)
    for path, file in needed:
        if above := next(
            (seen[str(folder).casefold()] for folder in path.parents if str(folder).casefold() in seen), None
        ):
            yield Problem(file.name, "the hub has a file where this one needs a folder", above, next_step=NO_MIRROR)


def _find_lacking(layout: WeightLayout, stages: tuple[Stage, ...], offered: set[Path]) -> Iterator[Problem]:
    components = {part.name: part for stage in stages for part in layout.of_stage(stage) if part.shards}
    for part in components.values():
        for path in (*part.shards, *([part.config] if part.config else [])):
            if path not in offered:
                there = sorted(file.name for file in offered if file.parent == path.parent)
                yield Problem(
                    part.name,
                    f"the hub has no {path.name} for it",
                    got=", ".join(there) or "nothing in that folder",
                    next_step="The repository may have changed its layout: report this message.",
                )


def _why_skipped(path: Path, *, is_read: bool, is_named: bool) -> str | None:
    if path.suffix in FOREIGN:
        return "not a safetensors file"
    if path.suffix != ".safetensors" or is_read:
        return None
    return "holds only tensors that nothing reads" if is_named else "not part of this layout"


def _plan_file(
    places: WeightPlaces,
    repository: Repository,
    remote: RemoteRepository,
    file: RemoteFile,
    record: WeightRecord | None,
    view: TransferView,
    *,
    replace: bool,
) -> PlannedFile | Problem:
    folder, path = places.folder_of(repository), places.path_of(repository, file.name)
    if path.is_symlink() and not path.exists():
        step = "Connect the volume that it leads to, or remove the link."
        return Problem(str(path), "this link leads nowhere", got=str(path.readlink()), next_step=step)
    if path.exists():
        recorded = record.files.get(file.name) if record and not replace else None
        if sha256 := _is_same(path, file, recorded, view):
            return PlannedFile(remote, file, folder, path, 0, sha256)
        if not replace:
            return Problem(
                str(path),
                "a file is here that is not the hub's",
                got=f"{path.stat().st_size} bytes",
                expected=f"{file.size_bytes} bytes with the hash {file.sha256 or file.git_sha1}",
                next_step="Choose another folder, or add --replace to fetch it again.",
            )
    part = part_of(path, file)
    done_bytes = part.stat().st_size if part.exists() else 0
    return PlannedFile(remote, file, folder, path, max(0, file.size_bytes - done_bytes), None)


def _is_same(path: Path, file: RemoteFile, recorded: RecordedFile | None, view: TransferView) -> str | None:
    """The SHA-256 of a file on disk if it is the hub's."""
    if path.stat().st_size != file.size_bytes:
        return None
    if recorded and file.size_bytes > ALWAYS_HASHED_BYTES and recorded.sha256 == file.sha256:
        return recorded.sha256
    digests = hash_file(path, file, view)
    got, expected = digests.compared
    return digests.sha256 if got == expected else None


def _find_no_room(files: list[PlannedFile]) -> Iterator[Problem]:
    """Volumes that are too small for what shall come onto them."""
    volumes: dict[int, tuple[Path, int]] = {}
    for file in files:
        parent = next(folder for folder in file.destination.parents if folder.exists())
        folder, so_far = volumes.get(parent.stat().st_dev, (parent, 0))
        volumes[parent.stat().st_dev] = (folder, so_far + file.missing_bytes)
    for folder, missing_bytes in volumes.values():
        free_bytes = shutil.disk_usage(folder).free
        if missing_bytes and free_bytes < missing_bytes + RESERVE_BYTES:
            yield Problem(
                str(folder),
                "too little free space on this volume",
                got=f"{free_bytes} bytes free",
                expected=f"{missing_bytes + RESERVE_BYTES} bytes",
                next_step="Free some, choose another volume with --to, or fewer stages with --stages.",
            )
