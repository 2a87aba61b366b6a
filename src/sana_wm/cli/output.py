"""Files that a user names: never replaced without a word."""

from __future__ import annotations

import os
from pathlib import Path

from sana_wm.errors import UsageError


def refuse_to_overwrite(path: Path, *, force: bool) -> None:
    """Refuse a file that is there, unless the user asked for it to be replaced."""
    if path.exists() and not force:
        raise UsageError(f"{path} is there already", expected="a new file", next_step="Choose another, or add --force.")


def require_suffix(path: Path, suffix: str) -> None:
    """Refuse a name that says that the file is something else."""
    if path.suffix.lower() != suffix:
        raise UsageError(f"{path} is no name for this file", got=path.suffix or "no suffix", expected=suffix)


def real_path(path: Path) -> Path:
    """A path that a user named, absolute and without links; of a link that leads to itself, where it lies."""
    return Path(os.path.realpath(path))
