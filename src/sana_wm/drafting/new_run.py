"""A new run's place, and its manifest beside it: nothing that is there is ever written over."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sana_wm.drafting.new_manifest import draft_manifest, run_name, write_manifest
from sana_wm.drafting.request import VideoRequest
from sana_wm.errors import UsageError, WeightsError
from sana_wm.manifest.loading import escape_variables
from sana_wm.variants import MODELS
from sana_wm.weights.finding import find_weights

Json = dict[str, Any]

#: Where runs lie that nobody says another place for, seen from the working folder.
RUNS_FOLDER = Path("runs")
#: What follows a run's name in those of its own files beside its directory: manifest, camera path, first frame.
_BESIDE = re.compile(r"\.json|-camera(-\d+)?\.npy|-frame\.png")


def manifest_beside(run_path: Path) -> Path:
    """Where the manifest of a run that names itself lies: `runs/NAME.json` for `runs/NAME`."""
    return run_path.with_name(f"{run_path.name}.json")


def frame_beside(run_path: Path) -> Path:
    """Where the frame lies that a run begins with: `runs/NAME-frame.png`."""
    return run_path.with_name(f"{run_path.name}-frame.png")


def files_beside(run_path: Path) -> list[Path]:
    """A run's own files that are not in its directory; other runs may begin with them."""
    if not run_path.parent.is_dir():
        return []
    near = (path for path in run_path.parent.iterdir() if path.name.startswith(run_path.name))
    return sorted(path for path in near if _BESIDE.fullmatch(path.name.removeprefix(run_path.name)))


def numbered(run_path: Path, first: int = 1) -> Iterator[Path]:
    """`NAME`, `NAME-2`, `NAME-3` and so on, from a number on."""
    for number in itertools.count(first):
        yield run_path if number == 1 else run_path.with_name(f"{run_path.name}-{number}")


@dataclass(frozen=True)
class NewRun:
    """A run that could start. Its name is this process's own: nobody else gets it while its manifest lies there.

    Attributes:
        path: Its directory, which is not there yet.
        made_folders: Those around it that were made for it, the inmost first.
        notes: What a user should be told of its manifest.
    """

    path: Path
    made_folders: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def manifest_path(self) -> Path:
        """Its manifest."""
        return manifest_beside(self.path)

    def written(self, data: Json, notes: Sequence[str]) -> NewRun:
        """Write its manifest, under its name; returns the run with what a user should be told."""
        write_manifest({**data, "name": escape_variables(self.path.name)}, self.manifest_path)
        return replace(self, notes=tuple(notes))

    def discard_unstarted(self) -> None:
        """Remove what was written for it if it has not begun: its name is free again."""
        if self.path.exists():
            return
        # The manifest last: until it is gone nobody else writes files of that name.
        for file in (*(file for file in files_beside(self.path) if file != self.manifest_path), self.manifest_path):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else lies in it by now
            for folder in self.made_folders:
                folder.rmdir()


@contextlib.contextmanager
def new_place(names: Iterable[Path]) -> Generator[NewRun]:
    """Take the first of some names that no run has; it is free again if what is written for it fails.

    Args:
        names: Of run directories.

    Raises:
        UsageError: All of them are taken, by a run or by a file that belongs to one.
    """
    place = _first_free(names)
    try:
        yield place
    except BaseException:
        place.discard_unstarted()
        raise


def _first_free(names: Iterable[Path]) -> NewRun:
    taken: list[Path] = []
    for path in map(Path.absolute, names):
        taken = [*([path] if path.exists() or path.is_symlink() else []), *files_beside(path)]
        if taken:
            continue
        made_folders = tuple(folder for folder in path.parents if not folder.exists())
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            manifest_beside(path).touch(exist_ok=False)
        except FileExistsError:  # another process has it since we looked: of all who try at once, one makes it
            taken = [manifest_beside(path)]
        else:
            return NewRun(path, made_folders)
    raise UsageError(f"{taken[0]} is there already", expected="a new name", next_step="Choose another --out.")


def write_new_run(said: VideoRequest, environ: Mapping[str, str], runs: Path = RUNS_FOLDER) -> NewRun:
    """Write the manifest of a new run of a picture, in a place of its own.

    Args:
        said: What the user says; without `out` the run lies in `runs`, under the first free name.
        environ: This process's environment.
        runs: The folder for such runs.

    Raises:
        WeightsError: Nothing says where the model's weights lie.
        UsageError: The place is taken, or as of `draft_manifest`.
    """
    require_weights(said, environ)
    with new_place(numbered(runs / run_name(said)) if said.out is None else [said.out]) as place:
        data, notes = draft_manifest(replace(said, out=place.path), place.path.parent, environ)
        return place.written(data, notes)


def require_weights(said: VideoRequest, environ: Mapping[str, str]) -> None:
    """Refuse a run whose weights nobody knows, before anything else is looked at.

    Raises:
        WeightsError: Names every place that was looked at, and how they come here.
    """
    model = MODELS[said.variant or "bidirectional"]
    found = find_weights(model.variant, said.roots, environ)
    if found.source is not None and not found.unset:
        return
    if found.source is not None:
        raise WeightsError(
            f"of the weights of the {model.title} only a part is known",
            got=f"the model, from {found.source}; {', '.join(found.unset)} is not set",
            expected="gemma-2-2b-it, too",
            next_step="Name its folder with --gemma-root, or keep it beside the model's.",
        )
    variant = "" if said.variant in (None, "bidirectional") else f" --variant {model.variant}"
    raise WeightsError(
        f"no weights of the {model.title} were found",
        got="; ".join(found.looked),
        expected="a folder that holds them",
        next_step=f"Download them: sana-wm weights download{variant} (sana-wm weights list says how much that is); "
        "or say where they are: sana-wm weights use DIR",
    )
