"""Whether the weights on disk are whole: headers, names and shapes, sizes, and every byte against the hub's hash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sana_wm.errors import Problem, WeightsError
from sana_wm.names import Stage
from sana_wm.weights.check import check_layout
from sana_wm.weights.facts import Repository
from sana_wm.weights.hub_answers import RemoteFile
from sana_wm.weights.layout import REPAIR
from sana_wm.weights.places import WeightPlaces, is_needed
from sana_wm.weights.record import RecordedFile, read_record
from sana_wm.weights.transfer import TransferView, hash_file

#: `unknown`: nobody told us the hub's hash. `unchecked`: it was not asked for, or the size is wrong already.
HashState = Literal["right", "wrong", "unknown", "unchecked"]


@dataclass(frozen=True)
class FileReport:
    """What was found out about one file.

    Attributes:
        path: The file.
        size_bytes: Its size; 0 where it is missing.
        sha256: Whether its content is the hub's.
        problems: What is wrong with it.
    """

    path: Path
    size_bytes: int
    sha256: HashState
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "path": str(self.path), "problems": [problem.as_json() for problem in self.problems]}


def verify_weights(
    places: WeightPlaces, stages: tuple[Stage, ...], view: TransferView, *, hashes: bool = True
) -> tuple[list[FileReport], list[Problem]]:
    """Check every file that the stages read.

    Args:
        places: Where the weights lie.
        stages: The stages to check for.
        view: Shows what is hashed.
        hashes: Whether to read every byte; without, headers and sizes are checked.

    Returns:
        A report for each file, and every problem, with those that belong to no single file.
    """
    structural = check_layout(places.layout(), stages)
    by_path: dict[str, list[Problem]] = {}
    for problem in structural:
        by_path.setdefault(problem.field, []).append(problem)
    reports: list[FileReport] = []
    problems: list[Problem] = []
    for repository in places.repositories(stages):
        try:
            reports += _verify_repository(places, repository, stages, by_path, view, hashes=hashes)
        except WeightsError as error:
            problems.append(Problem.of(str(places.folder_of(repository)), error))
    shown = {str(report.path) for report in reports}
    problems += [problem for problem in structural if problem.field not in shown]
    problems += [problem for report in reports for problem in report.problems]
    return reports, problems


def _verify_repository(
    places: WeightPlaces,
    repository: Repository,
    stages: tuple[Stage, ...],
    by_path: dict[str, list[Problem]],
    view: TransferView,
    *,
    hashes: bool,
) -> Iterator[FileReport]:
    record = read_record(places.folder_of(repository))
    recorded = {} if record is None else record.files
    known = {places.path_of(repository, name): (name, file) for name, file in recorded.items()}
    needed = {path for path, (name, _) in known.items() if is_needed(repository, name, stages)}
    for path in sorted(needed | _shards_under(places, repository, stages)):
        problems = by_path.get(str(path), [])
        size_bytes = path.stat().st_size if path.is_file() else 0
        name, file = known.get(path, (path.name, None))
        state: HashState = "unchecked" if file else "unknown"
        more: list[Problem] = []
        if file:
            state, more = _hold_against_record(path, name, file, view, hashes=hashes and not problems)
        if path.is_file() or problems or more:
            yield FileReport(path, size_bytes, state, (*problems, *(more if not problems else [])))


def _shards_under(places: WeightPlaces, repository: Repository, stages: tuple[Stage, ...]) -> set[Path]:
    """The weight files that the stages read and that lie among this repository's."""
    layout = places.layout()
    roots = {places.path_of(repository, entry.pattern).parent for entry in repository.needed_files(stages)}
    return {path for stage in stages for part in layout.of_stage(stage) for path in part.shards if path.parent in roots}


def _hold_against_record(
    path: Path, name: str, file: RecordedFile, view: TransferView, *, hashes: bool
) -> tuple[HashState, list[Problem]]:
    if not path.is_file():
        return "unchecked", [Problem(str(path), "this file was downloaded and is gone", next_step=REPAIR)]
    if path.stat().st_size != file.size_bytes:
        got, right = f"{path.stat().st_size} bytes", f"{file.size_bytes} bytes"
        return "unchecked", [Problem(str(path), "this file has not the size that it came with", got, right, REPAIR)]
    if not hashes:
        return "unchecked", []
    try:
        sha256 = hash_file(path, RemoteFile(name, file.size_bytes, file.sha256, None), view).sha256
    except OSError as error:
        return "unchecked", [Problem(str(path), "this file cannot be read", error.strerror, next_step=REPAIR)]
    if sha256 != file.sha256:
        return "wrong", [Problem(str(path), "this file is damaged", f"SHA-256 {sha256}", file.sha256, REPAIR)]
    return "right", []
