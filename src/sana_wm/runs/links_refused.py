"""A run directory is one tree of files of its own: whoever reads, writes or removes in it follows no link."""

from __future__ import annotations

import os
from pathlib import Path

from sana_wm.errors import HandoffError


def refuse_links(run_dir: Path) -> None:
    """Refuse a directory in which anything is a link: what is read, written and removed here must lie here.

    Args:
        run_dir: It may itself be reached through a link, and inputs and weights may be links.

    Raises:
        HandoffError: There is a link.
    """
    for folder, folders, files in os.walk(os.path.realpath(run_dir)):
        for path in (Path(folder, name) for name in (*folders, *files)):
            if path.is_symlink():
                raise HandoffError(
                    f"{path} is a link",
                    got=f"a link to {path.readlink()}",
                    expected="files and folders of the run directory's own",
                    next_step="Put the files themselves there; the whole run directory may lie anywhere.",
                )
