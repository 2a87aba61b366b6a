"""Whether the weights on disk are whole: headers, shapes, samples, and every byte against the hub's hash if known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sana_wm.errors import Problem, WeightsError
from sana_wm.names import Stage
from sana_wm.weights.check import TOKENIZERS, check_layout
from sana_wm.weights.conversion import read_conversion
from sana_wm.weights.download_problems import FOREIGN
from sana_wm.weights.facts import Repository
from sana_wm.weights.hub_answers import RemoteFile
from sana_wm.weights.known_hashes import find_known_hash
from sana_wm.weights.layout import Component
from sana_wm.weights.places import WeightPlaces, is_needed
from sana_wm.weights.reading import REPAIR, is_file, naming_refusals, unreadable
from sana_wm.weights.record import RecordedFile, read_record
from sana_wm.weights.tokenizer_files import tokenizer_files
from sana_wm.weights.transfer import TransferView, hash_file

#: `unknown`: nobody here knows the hub's hash. `unchecked`: it was not asked for, or something is wrong already.
HashState = Literal["right", "wrong", "unknown", "unchecked"]


@dataclass(frozen=True)
class FileReport:
    """What was found out about one file.

    Attributes:
        path: The file.
        size_bytes: Its size; 0 where it is missing.
        sha256: Whether its content is the hub's.
        source: Who says what the hash should be, in words; None where nobody does.
        checked: What else was looked at and is right: `size` (as recorded), `header`, `samples`, `parsed`.
        problems: What is wrong with it.
        written_here: Whether a conversion wrote it: its hash is that of what was written, not the hub's.
    """

    path: Path
    size_bytes: int
    sha256: HashState
    source: str | None
    checked: tuple[str, ...]
    problems: tuple[Problem, ...]
    written_here: bool = False

    @property
    def is_proven(self) -> bool:
        """Whether every byte is known to be the hub's, or what was made of the hub's."""
        return self.sha256 == "right" and not self.problems

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "path": str(self.path), "problems": [problem.as_json() for problem in self.problems]}


@naming_refusals()
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
    layout = places.layout()
    structural, has_numbers = check_layout(layout, stages), not layout.has_empty_weights
    by_path: dict[str, list[Problem]] = {}
    for problem in structural:
        by_path.setdefault(problem.field, []).append(problem)
    reports: list[FileReport] = []
    problems: list[Problem] = []
    for repository in places.repositories(stages):
        try:
            reports += _verify_repository(
                places, repository, stages, by_path, view, hashes=hashes, has_numbers=has_numbers
            )
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
    has_numbers: bool,
) -> Iterator[FileReport]:
    record = read_record(places.folder_of(repository))
    recorded = {} if record is None else record.files
    known = {places.path_of(repository, name): file for name, file in recorded.items()}
    needed = {places.path_of(repository, name) for name in recorded if is_needed(repository, name, stages)}
    converted = _converted_files(places.layout().transformer)
    if (checkpoint := places.layout().transformer.checkpoint) is not None and converted and not is_file(checkpoint):
        needed.discard(checkpoint)  # nothing reads it again
    for path in sorted(needed | _files_under(places, repository, stages)):
        problems = by_path.get(str(path), [])
        is_here = is_file(path)
        if not is_here and not problems and path not in needed:
            continue
        state: HashState = "unknown"
        source, more = None, list[Problem]()
        if path in known or path in converted:
            source = f"the record of its {'download' if path in known else 'conversion'}"
            recorded_file = known[path] if path in known else converted[path]
            state, more = _hold_against_record(path, recorded_file, view, hashes=hashes and not problems)
        elif is_here and (witness := find_known_hash(path)):
            source = witness.source
            state, more = _hold_against(path, witness.remote, view) if hashes and not problems else ("unchecked", [])
        found = (*problems, *(more if not problems else []))
        size_bytes = path.stat().st_size if is_here else 0
        is_recorded = path in known or path in converted
        checked = () if found else _looked_at(path, is_recorded=is_recorded, has_numbers=has_numbers)
        yield FileReport(path, size_bytes, state, source, checked, found, path in converted and path not in known)


def _converted_files(component: Component) -> dict[Path, RecordedFile]:
    conversion = read_conversion(component)
    return {} if conversion is None else {component.folder / name: file for name, file in conversion.files.items()}


def _looked_at(path: Path, *, is_recorded: bool, has_numbers: bool) -> tuple[str, ...]:
    of_kind: tuple[str, ...] = (
        ("header", "samples")[: 1 + has_numbers] if path.suffix == ".safetensors" else ("parsed",)
    )
    if path.suffix in FOREIGN:
        of_kind = ()  # nothing but a conversion opens it
    return (*(("size",) if is_recorded else ()), *of_kind)


def _files_under(places: WeightPlaces, repository: Repository, stages: tuple[Stage, ...]) -> set[Path]:
    """The files that the stages read and that lie among this repository's."""
    layout = places.layout()
    roots = {places.path_of(repository, entry.pattern).parent for entry in repository.needed_files(stages)}
    parts = [part for stage in stages for part in layout.of_stage(stage) if part.folder in roots]
    named = {path for part in parts for path in (*part.shards, part.config, part.index) if path is not None}
    return named | {path for part in parts if part.name in TOKENIZERS for path in tokenizer_files(part)}


def _hold_against_record(
    path: Path, file: RecordedFile, view: TransferView, *, hashes: bool
) -> tuple[HashState, list[Problem]]:
    if not is_file(path):
        return "unchecked", [Problem(str(path), "this file was downloaded and is gone", next_step=REPAIR)]
    if path.stat().st_size != file.size_bytes:
        got, right = f"{path.stat().st_size} bytes", f"{file.size_bytes} bytes"
        return "unchecked", [Problem(str(path), "this file has not the size that it came with", got, right, REPAIR)]
    if not hashes:
        return "unchecked", []
    return _hold_against(path, RemoteFile(path.name, file.size_bytes, file.sha256, None), view)


def _hold_against(path: Path, remote: RemoteFile, view: TransferView) -> tuple[HashState, list[Problem]]:
    kind = "SHA-256" if remote.sha256 else "git's SHA-1"
    try:
        got, expected = hash_file(path, remote, view).compared
    except WeightsError as error:
        return "unchecked", [Problem.of(str(path), error)]
    except OSError as error:
        return "unchecked", [Problem.of(str(path), unreadable(path, error))]
    if got != expected:
        return "wrong", [Problem(str(path), "this file is damaged", f"{kind} {got}", expected, REPAIR)]
    return "right", []
