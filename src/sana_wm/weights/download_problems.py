"""What speaks against a download before its first large byte: the hub's lists, and the room on every volume."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from sana_wm.errors import Problem
from sana_wm.names import Stage
from sana_wm.weights.hub_answers import NO_MIRROR, RemoteFile
from sana_wm.weights.layout import WeightLayout
from sana_wm.weights.reading import MAX_JSON_BYTES

#: Pickles and other frameworks' weights: never read here, though some repositories carry them beside the safetensors.
FOREIGN = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5", ".onnx", ".gguf")
INDEX = ".safetensors.index.json"
RESERVE_BYTES = 256 * 1024**2  # a volume that is full to its last byte helps nobody


def find_clashes(needed: list[tuple[Path, RemoteFile]]) -> Iterator[Problem]:
    """Files that cannot lie beside one another on every volume, and indexes that are none."""
    seen: dict[str, str] = {}
    for path, file in needed:
        folded = str(path).casefold()
        if folded in seen:
            yield Problem(file.name, "the hub has two files of this name", got=seen[folded], next_step=NO_MIRROR)
        seen[folded] = file.name
        if file.name.endswith(INDEX) and file.size_bytes > MAX_JSON_BYTES:
            got, right = f"{file.size_bytes} bytes", f"{MAX_JSON_BYTES} bytes at most"
            yield Problem(file.name, "this is too large for an index", got, right, NO_MIRROR)
    for path, file in needed:
        if above := next(
            (seen[str(folder).casefold()] for folder in path.parents if str(folder).casefold() in seen), None
        ):
            yield Problem(file.name, "the hub has a file where this one needs a folder", above, next_step=NO_MIRROR)


def find_lacking(layout: WeightLayout, stages: tuple[Stage, ...], offered: set[Path]) -> Iterator[Problem]:
    """Files that the stages read and the hub does not have; what is converted needs its checkpoint alone."""
    components = {part.name: part for stage in stages for part in layout.of_stage(stage) if part.shards}
    for part in components.values():
        for path in (*part.shards, *([part.config] if part.config else [])):
            if path not in offered and not (part.checkpoint is not None and part.checkpoint in offered):
                there = sorted(file.name for file in offered if file.parent == path.parent)
                yield Problem(
                    part.name,
                    f"the hub has no {path.name} for it",
                    got=", ".join(there) or "nothing in that folder",
                    next_step="The repository may have changed its layout: report this message.",
                )


def find_no_room(coming: Iterable[tuple[Path, int]]) -> Iterator[Problem]:
    """Volumes that are too small for what shall come onto them.

    Args:
        coming: Files, and how much of each must still come.
    """
    volumes: dict[int, tuple[Path, int]] = {}
    for destination, missing_bytes in coming:
        parent = next(folder for folder in destination.parents if folder.exists())
        folder, so_far = volumes.get(parent.stat().st_dev, (parent, 0))
        volumes[parent.stat().st_dev] = (folder, so_far + missing_bytes)
    for folder, missing_bytes in volumes.values():
        free_bytes = shutil.disk_usage(folder).free
        if missing_bytes and free_bytes < missing_bytes + RESERVE_BYTES:
            yield Problem(
                str(folder),
                "too little free space on this volume",
                got=f"{free_bytes} bytes free",
                expected=f"{missing_bytes + RESERVE_BYTES} bytes",
                next_step="Free some, choose another volume with --in, or fewer stages with --stages.",
            )
