"""Names for new runs beside another: nothing that is there is ever written over."""

from __future__ import annotations

import re
from pathlib import Path

from sana_wm.durable import remove_file
from sana_wm.errors import UsageError

#: What a new run's own files beside its directory end with: its manifest, its camera path, the frame it begins with.
BESIDE = (".json", "-camera.npy", "-frame.png")


def frame_beside(run: Path) -> Path:
    """Where the frame lies that a run begins with."""
    return run.with_name(f"{run.name}-frame.png")


def free_name(folder: Path, *, numbered: bool = False) -> Path:
    """The next free name of a run: `NAME-2` beside NAME, and so on.

    Args:
        folder: The run that it stands beside.
        numbered: Whether that one's name ends with such a number of ours, which is then counted on.
    """
    stem = re.sub(r"-\d+$", "", folder.name) if numbered else folder.name
    number = 2
    while _taken(path := folder.with_name(f"{stem}-{number}")):
        number += 1
    return path


def require_free(path: Path) -> None:
    """Refuse a name where something lies.

    Raises:
        UsageError: It is taken.
    """
    if taken := _taken(path):
        raise UsageError(f"{taken[0]} is there already", expected="a new name", next_step="Choose another --out.")


def forget(manifest: Path) -> None:
    """Remove what was written for a run that shall not begin: its manifest, and the frame beside that."""
    remove_file(frame_beside(manifest.with_suffix("")))
    remove_file(manifest)


def _taken(path: Path) -> list[Path]:
    named = (path, *(path.with_name(f"{path.name}{end}") for end in BESIDE))
    return [one for one in named if one.exists() or one.is_symlink()]
