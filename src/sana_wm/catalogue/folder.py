"""The runs of a folder: those that lie in it, and those one folder deeper, where the demo puts its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sana_wm.catalogue.entry import Entry, read_entry
from sana_wm.errors import HandoffError
from sana_wm.runs.run_directory import RunDirectory


@dataclass(frozen=True)
class Skipped:
    """A folder that holds no run of ours."""

    path: Path
    why: str


@dataclass(frozen=True)
class Catalogue:
    """What a folder holds.

    Attributes:
        folder: The folder.
        entries: Its runs by name.
        skipped: Its other folders.
    """

    folder: Path
    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]

    def entry_of(self, path: Path) -> Entry | None:
        """The run in a directory, if it is one of these."""
        return next((entry for entry in self.entries if entry.path == path), None)


def read_catalogue(folder: Path) -> Catalogue:
    """Look at every run of a folder; of a run directory itself, at that one.

    Raises:
        HandoffError: The folder cannot be read.
    """
    entries: list[Entry] = []
    skipped: list[Skipped] = []
    try:
        for found in _look_into(folder):
            if isinstance(found, RunDirectory):
                entries.append(read_entry(found))
            else:
                skipped.append(found)
    except OSError as error:
        raise HandoffError(
            f"{folder} cannot be looked into",
            got=error.strerror or str(error),
            expected="a folder of runs",
            next_step="Name it: sana-wm runs list FOLDER",
        ) from error
    return Catalogue(folder, tuple(entries), tuple(skipped))


def _look_into(folder: Path) -> Iterator[RunDirectory | Skipped]:
    if RunDirectory(folder).is_ours():
        yield RunDirectory(folder)
        return
    for path in _folders_in(folder):
        if path.is_symlink():  # what it leads to is shown where it lies
            yield Skipped(path, "a link")
        elif RunDirectory(path).is_ours():
            yield RunDirectory(path)
        else:
            yield from _look_deeper(path)


def _look_deeper(folder: Path) -> Iterator[RunDirectory | Skipped]:
    try:
        inner = [RunDirectory(path) for path in _folders_in(folder) if not path.is_symlink()]
    except OSError as error:
        yield Skipped(folder, error.strerror or str(error))
        return
    runs = [run for run in inner if run.is_ours()]
    yield from runs or [Skipped(folder, "no run of ours")]


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
