"""Other weights of ours on this machine: beside the ones at hand, and in hub caches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from sana_wm.weights.facts import model_facts
from sana_wm.weights.reading import is_file, is_folder
from sana_wm.weights.record import RECORD_NAME


def neighbours_of(folders: Iterable[Path], caches: Iterable[Path] = ()) -> Iterator[Path]:
    """Folders that hold weights of ours: beside some folders, and in hub caches.

    Args:
        folders: Of repositories that are being downloaded.
        caches: Hub caches: folders with a `models--OWNER--NAME` for each repository.
    """
    layouts = [layout for layouts in model_facts().layouts.values() for layout in layouts.values()]
    known = {repository.repo_id for layout in layouts for repository in layout}
    names = {repo_id.rpartition("/")[2] for repo_id in known}
    for parent in dict.fromkeys(folder.absolute().parent for folder in folders):
        with contextlib.suppress(OSError):
            beside = sorted(path for path in parent.iterdir() if is_folder(path))
            yield from (path for path in beside if path.name in names or is_file(path / RECORD_NAME))
    for cache in caches:
        yield from (cache / f"models--{repo_id.replace('/', '--')}" for repo_id in sorted(known))
