"""Download what stages read: planned before the first large byte, checked for room, each file whole or not there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE

from sana_wm.errors import DownloadError, Problem
from sana_wm.names import Stage
from sana_wm.weights.conversion import CONVERSION_NAME
from sana_wm.weights.download_problems import find_clashes, find_lacking, find_no_room
from sana_wm.weights.facts import Repository, model_facts
from sana_wm.weights.hub import Hub
from sana_wm.weights.hub_answers import RemoteFile, RemoteRepository
from sana_wm.weights.layout import Component
from sana_wm.weights.needed_files import (
    NeededFile,
    SkippedFile,
    fetch_indexes,
    is_converted,
    make_folder_for_download,
    open_all,
    sha256_if_same,
    without_skipped,
)
from sana_wm.weights.neighbours import neighbours_of
from sana_wm.weights.places import WeightPlaces, is_needed
from sana_wm.weights.reading import naming_refusals
from sana_wm.weights.record import RecordedFile, WeightRecord, read_record, write_record
from sana_wm.weights.transfer import TransferView, fetch_file, part_of
from sana_wm.weights.twins import Twins, link_twin

FLOAT32_BYTES = 4


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
        twin: A file with its bytes that is here under another name; it is linked.
    """

    repository: RemoteRepository
    remote: RemoteFile
    folder: Path
    destination: Path
    missing_bytes: int
    sha256: str | None
    twin: Path | None = None


@dataclass(frozen=True)
class DownloadPlan:
    """What a download will do.

    Attributes:
        files: The files that the stages read.
        skipped: Those that nothing reads.
        conversion_bytes: What a conversion of a checkpoint among them will write at most.
    """

    files: tuple[PlannedFile, ...]
    skipped: tuple[SkippedFile, ...]
    conversion_bytes: int = 0

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
    reuse: Collection[Path] = (),
) -> DownloadPlan:
    """Ask the hub what there is, fetch the small indexes, and say what must come.

    Args:
        hub: The hub.
        places: Where the files lie or shall lie.
        stages: The stages that they are for.
        view: Shows what is hashed and fetched.
        replace: Hash what is here, and plan to replace what differs.
        index_places: Where to put the indexes instead of their places, for a plan that must not change anything.
        reuse: Folders to look for the same files in, besides those beside the places.

    Raises:
        DownloadError: With every problem of all repositories.
        WeightsError: An index or a download record cannot be read.
    """
    known = index_places or places
    remotes = open_all(hub, places.repositories(stages))
    needed = [
        NeededFile(repository, remote, file, known.path_of(repository, file.name))
        for repository, remote in remotes
        for file in remote.files
        if is_needed(repository, file.name, stages)
    ]
    if clashes := list(find_clashes([(one.path, one.file) for one in needed])):
        raise DownloadError(clashes)
    named = fetch_indexes(hub, needed, view, replace=replace)
    layout = known.layout()
    read = {shard for stage in stages for part in layout.of_stage(stage) for shard in part.shards}
    problems = list(find_lacking(layout, stages, {one.path for one in needed}))
    student = places.layout().transformer
    wanted, skipped = without_skipped(needed, places, student, read, named)
    folders = [places.folder_of(repository) for repository, _ in remotes]
    twins = Twins((*neighbours_of(folders, [Path(HF_HUB_CACHE)]), *reuse), view)
    files, unplanned = _plan_files(wanted, places, twins, view, replace=replace)
    conversion_bytes = sum(_conversion_bytes(student, file) for file in files)
    coming = [(file.destination, file.missing_bytes) for file in files]
    problems += [*unplanned, *find_no_room([*coming, (student.folder / CONVERSION_NAME, conversion_bytes)])]
    if problems:
        raise DownloadError(problems)
    return DownloadPlan(tuple(files), tuple(skipped), conversion_bytes)


def _plan_files(
    wanted: Sequence[NeededFile], places: WeightPlaces, twins: Twins, view: TransferView, *, replace: bool
) -> tuple[list[PlannedFile], list[Problem]]:
    """What is to be done for each file, a twin's content used where there is one; and what stands in the way."""
    files: list[PlannedFile] = []
    problems: list[Problem] = []
    records = {one.repository.repo_id: read_record(places.folder_of(one.repository)) for one in wanted}
    for one in wanted:
        record = records[one.repository.repo_id]
        planned = _plan_file(places, one.repository, one.remote, one.file, record, view, replace=replace)
        if isinstance(planned, Problem):
            problems.append(planned)
        elif planned.sha256 is None and (twin := twins.find(one.file, planned.destination)):
            files.append(replace_fields(planned, missing_bytes=0, twin=twin))
        else:
            files.append(planned)
    return files, problems


def run_download(hub: Hub, plan: DownloadPlan, view: TransferView) -> None:
    """Fetch what is missing, one file after the other, and keep the record of each folder up to date.

    Raises:
        DownloadError: A file cannot be had; those before it are whole, and it goes on where it stopped.
    """
    _make_folders(plan)
    for file in plan.files:
        sha256 = file.sha256 or _link(hub, file, view)
        sha256 = sha256 or fetch_file(hub, file.repository, file.remote, file.destination, view)
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
        make_folder_for_download(file.destination.parent)


def _link(hub: Hub, file: PlannedFile, view: TransferView) -> str | None:
    """The SHA-256 of a file that was linked to its twin."""
    if file.twin is None:
        return None
    how = link_twin(file.twin, file.remote, file.destination, view)
    hub.say(how or f"{file.twin} is not what is said of it, or cannot be linked: {file.remote.name} is fetched")
    return file.remote.sha256 if how else None


def _conversion_bytes(student: Component, file: PlannedFile) -> int:
    """What converting a file will write at most: the network in float32, and never more than the file."""
    if file.destination != student.checkpoint or is_converted(student, file.remote):
        return 0
    return min(file.remote.size_bytes, FLOAT32_BYTES * model_facts().parameters[student.name].stored)


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
        if sha256 := sha256_if_same(path, file, recorded, view):
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
