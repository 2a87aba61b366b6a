"""Which stage needs which files, how large they are, and what of them is here, by records and headers alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from sana_wm.errors import WeightsError
from sana_wm.names import Stage
from sana_wm.weights.conversion import read_conversion
from sana_wm.weights.facts import Repository
from sana_wm.weights.headers import read_header
from sana_wm.weights.lookalikes import COMPANIONS, find_unfinished
from sana_wm.weights.places import WeightPlaces
from sana_wm.weights.reading import naming_refusals
from sana_wm.weights.record import RecordedFile, read_record

#: `optional`: none of them is here, and none is one that must be: some repositories keep the tokenizer elsewhere.
#: `unconverted`: the checkpoint is here, and what the stages read of it was not written yet.
State = Literal["here", "incomplete", "missing", "optional", "unconverted"]


@dataclass(frozen=True)
class InventoryRow:
    """Files that belong together.

    Attributes:
        repo_id: Their repository.
        pattern: Their names there.
        stages: The stages that read them.
        folder: Where the repository's files lie here.
        needed_bytes: Their size.
        is_estimate: Whether `needed_bytes` is an estimate: not all of them were downloaded by us.
        here_bytes: What of them is here: whole files only.
        partial_bytes: What interrupted downloads of them left, ours to go on from or another program's.
        state: Whether all of it is here.
        licence: Of the repository.
        note: What else to know of its size.
    """

    repo_id: str
    pattern: str
    stages: tuple[Stage, ...]
    folder: Path
    needed_bytes: int
    is_estimate: bool
    here_bytes: int
    partial_bytes: int
    state: State
    licence: str = ""
    note: str | None = None


@naming_refusals()
def list_weights(places: WeightPlaces, stages: tuple[Stage, ...]) -> list[InventoryRow]:
    """One row for each group of files that the stages read.

    Raises:
        WeightsError: A download record cannot be read.
    """
    return [row for repository in places.repositories(stages) for row in _list_repository(places, repository, stages)]


def _list_repository(places: WeightPlaces, repository: Repository, stages: tuple[Stage, ...]) -> Iterator[InventoryRow]:
    folder = places.folder_of(repository)
    record = read_record(folder)
    recorded = {} if record is None else record.files
    layout = places.layout()
    components = {part.name: part for stage in stages for part in layout.of_stage(stage)}
    required = {path for part in components.values() for path in (part.config, *part.shards) if path}
    checkpoints = {part.checkpoint for part in components.values() if part.checkpoint is not None}
    converted = {part.checkpoint for part in components.values() if read_conversion(part) is not None}
    for entry in repository.needed_files(stages):
        names = [name for name in recorded if fnmatchcase(name, entry.pattern)]
        ours = {places.path_of(repository, name): recorded[name] for name in names}
        ours = {path: file for path, file in ours.items() if path not in converted or path.exists()}
        pattern = places.path_of(repository, entry.pattern)
        present = _files_of(pattern)
        here = {path: path.stat().st_size for path in present if _is_whole(path, ours.get(path))}
        parts = [path for path in present if path not in here]
        expected = {path for path in required if path.parent == pattern.parent and fnmatchcase(path.name, pattern.name)}
        is_lacking = not {*ours, *expected, *map(_whole_name, parts)} <= set(here)
        is_estimate = not ours or is_lacking
        state: State = "missing" if expected or parts else "optional"
        if here:
            state = "incomplete" if is_lacking else "here"
        if is_lacking and checkpoints & set(here):
            state = "unconverted"
        yield InventoryRow(
            repo_id=repository.repo_id,
            pattern=entry.pattern,
            stages=tuple(stage for stage in stages if stage in entry.stages),
            folder=folder,
            needed_bytes=entry.approximate_bytes if is_estimate else sum(file.size_bytes for file in ours.values()),
            is_estimate=is_estimate,
            here_bytes=sum(here.values()),
            partial_bytes=sum(path.stat().st_size for path in parts),
            state=state,
            licence=repository.licence,
            note=entry.note if is_estimate else None,
        )


def _is_whole(path: Path, recorded: RecordedFile | None) -> bool:
    """Whether a file is as long as its record or its own header says, and no download of it is under way."""
    if _whole_name(path) != path or find_unfinished(path) is not None:
        return False
    size_bytes = path.stat().st_size
    if recorded is not None:
        return size_bytes == recorded.size_bytes
    if path.suffix != ".safetensors":
        return size_bytes > 0 or path.suffix not in (".json", ".model")
    try:
        read_header(path)
    except WeightsError:
        return False
    return True


def _whole_name(path: Path) -> Path:
    """The name that a file will have once its download is through; of others their own."""
    if path.suffix not in COMPANIONS:
        return path
    return path.with_name(re.sub(r"\.[0-9a-f]{12}$", "", path.stem))


def _files_of(pattern: Path) -> list[Path]:
    """Files of a pattern, and what interrupted downloads left beside them under a name of its own."""
    partial = pattern.parent.glob(f"{pattern.name}.*.part")
    return [path for path in {*pattern.parent.glob(pattern.name), *partial} if path.is_file()]
