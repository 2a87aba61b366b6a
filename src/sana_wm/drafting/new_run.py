"""A new run's place, and its manifest beside it: nothing that is there is ever written over."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sana_wm.drafting.new_manifest import draft_manifest, run_name, write_manifest
from sana_wm.drafting.request import VideoRequest
from sana_wm.errors import UsageError, WeightsError
from sana_wm.manifest.loading import escape_variables
from sana_wm.variants import MODELS
from sana_wm.weights.finding import find_weights

#: Where runs lie that nobody says another place for, seen from the working folder.
RUNS_FOLDER = Path("runs")


#: What a new run's own files beside its directory end with: its manifest, its camera path, the frame it begins with.
BESIDE = (".json", "-camera.npy", "-frame.png")


def manifest_beside(run_path: Path) -> Path:
    """Where the manifest of a run that names itself lies: `runs/NAME.json` for `runs/NAME`."""
    return run_path.with_name(f"{run_path.name}.json")


def frame_beside(run_path: Path) -> Path:
    """Where the frame lies that a run begins with: `runs/NAME-frame.png`."""
    return run_path.with_name(f"{run_path.name}-frame.png")


def next_free(run_path: Path) -> Path:
    """The path itself if no run and no file of one has it, else the first free one of `NAME-2`, `NAME-3` and so on."""
    number, free = 1, run_path
    while _taken(free):
        number += 1
        free = run_path.with_name(f"{run_path.name}-{number}")
    return free


def require_free(run_path: Path) -> None:
    """Refuse a run directory that the user named and that is there.

    Raises:
        UsageError: It is, or a file of a run of that name.
    """
    if taken := _taken(run_path):
        raise UsageError(f"{taken[0]} is there already", expected="a new name", next_step="Choose another --out.")


def _taken(run_path: Path) -> list[Path]:
    """What has that name: a run, or what belongs to one and lies beside it."""
    named = (run_path, *files_beside(run_path))
    return [path for path in named if path.exists() or path.is_symlink()]


def files_beside(run_path: Path) -> tuple[Path, ...]:
    """Where a run's own files lie that are not in its directory; other runs may begin with them."""
    return tuple(run_path.with_name(f"{run_path.name}{end}") for end in BESIDE)


@dataclass(frozen=True)
class NewRun:
    """A run that could start.

    Attributes:
        path: Its directory, which is not there yet.
        notes: What a user should be told of its manifest.
        made_folder: Whether the folder around it was made for it.
    """

    path: Path
    notes: tuple[str, ...]
    made_folder: bool

    @property
    def manifest_path(self) -> Path:
        """Its manifest."""
        return manifest_beside(self.path)

    def discard_unstarted(self) -> None:
        """Remove what was written for it if it has not begun: its name is free again."""
        if self.path.exists():
            return
        for file in files_beside(self.path):
            file.unlink(missing_ok=True)
        if self.made_folder:
            with contextlib.suppress(OSError):  # something else lies in it by now
                self.path.parent.rmdir()


def write_new_run(said: VideoRequest, environ: Mapping[str, str]) -> NewRun:
    """Write the manifest of a new run of a picture, in a place of its own.

    Args:
        said: What the user says; without `out` the run lies in `runs`, under the first free name.
        environ: This process's environment.

    Raises:
        WeightsError: Nothing says where the model's weights lie.
        UsageError: The place is taken, or as of `draft_manifest`.
    """
    require_weights(said, environ)
    if said.out is not None:
        require_free(said.out)
    path = (said.out or next_free(RUNS_FOLDER / run_name(said))).absolute()
    made_folder = not path.parent.exists()
    data, notes = draft_manifest(replace(said, out=path), path.parent, environ)
    data["name"] = escape_variables(path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(data, manifest_beside(path))
    return NewRun(path, tuple(notes), made_folder)


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
