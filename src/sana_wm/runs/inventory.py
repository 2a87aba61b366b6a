"""What lies in a run directory: every file with what it is to whom, and what it takes on the disk.

Only what has a name here is ours to remove; everything else in the directory is somebody else's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sana_wm.durable import is_part
from sana_wm.manifest.model import Manifest
from sana_wm.names import STAGES
from sana_wm.pipeline import PIPELINE
from sana_wm.runs.run_directory import RunDirectory

#: `result`: what the run is for. `latents`: what other runs begin with. `state`: what can be made again from latents.
#: `leftover`: what an interrupted write or stage left, of no use once all is done. `record`: what it says of itself.
Kind = Literal["result", "latents", "state", "leftover", "record", "foreign"]

_STAGES = "|".join(STAGES)
_PATTERNS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("result", re.compile(r"previews/\d{4}\.png")),
    ("leftover", re.compile(r"growing\.mp4")),
    ("leftover", re.compile(rf"checkpoints/({_STAGES})/(beginning\.json|segments\.txt|\d{{5}}\.\w+)")),
    ("leftover", re.compile(rf"evidence/({_STAGES})(\.\w+|/(beginning\.json|segments\.txt|\d{{5}}\.\w+))")),
    ("record", re.compile(rf"(receipts|logs|events)/({_STAGES}|weights|start|end|asked|memory)\.(json|jsonl|log)")),
    ("record", re.compile(r"manifest\.json|metrics\.json|report\.html|memory\.png|\.lock")),
    # What the Finder leaves in every folder that it shows: how its window lay.
    ("leftover", re.compile(r"(.*/)?(\.DS_Store|\._.*)")),
)
#: Below these nothing but such files belongs.
_FOLDERS = ("latents", "previews", "checkpoints", "evidence", "receipts", "logs", "events")
_FRAME = re.compile(r"\d{5}\.png")


@dataclass(frozen=True)
class RunFile:
    """A file in a run directory.

    Attributes:
        path: Where it lies.
        name: Below the directory.
        kind: What it is to whom.
        size_bytes: Of its content.
        identity: Of its content on the disk, which several names may share.
        links: Names that it has, here or elsewhere.
    """

    path: Path
    name: str
    kind: Kind
    size_bytes: int
    identity: tuple[int, int]
    links: int


def list_files(run: RunDirectory, manifest: Manifest | None = None) -> tuple[RunFile, ...]:
    """Every file below a run directory, no link followed, in the order of their names.

    Args:
        run: The run directory.
        manifest: What ran, where that can be read: it may keep frames in the directory.

    Raises:
        OSError: A folder in it cannot be read.
    """
    frames = manifest.frames_within_output if manifest is not None else None
    kinds = _named_kinds()
    found: list[RunFile] = []
    for path in _walk(run.path):
        name = run.name_of(path)
        facts = path.lstat()
        kind = kinds.get(name) or _kind_of(path, name, frames)
        found.append(RunFile(path, name, kind, facts.st_size, (facts.st_dev, facts.st_ino), facts.st_nlink))
    return tuple(sorted(found, key=lambda file: file.name))


def list_folders(run: RunDirectory, manifest: Manifest | None = None) -> list[Path]:
    """The folders of ours below a run directory, each before the one that it lies in."""
    frames = manifest.frames_within_output if manifest is not None else None
    names = (*_FOLDERS, *([frames.parts[0]] if frames is not None and frames.parts else []))
    found = [Path(folder) for name in names for folder, _, _ in os.walk(run.path / name)]
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def disk_bytes(files: Iterable[RunFile]) -> int:
    """What files take together; content that several names share counts once."""
    return sum({file.identity: file.size_bytes for file in files}.values())


def freed_bytes(files: Iterable[RunFile]) -> int:
    """What is free once files are removed: content that has a name elsewhere stays."""
    names: dict[tuple[int, int], list[RunFile]] = {}
    for file in files:
        names.setdefault(file.identity, []).append(file)
    return sum(same[0].size_bytes for same in names.values() if len(same) >= same[0].links)


def _named_kinds() -> dict[str, Kind]:
    """The files of the stages by name."""
    kinds: dict[str, Kind] = {}
    for spec in PIPELINE.values():
        kinds |= dict.fromkeys(spec.asked, "state")
        for name in (*spec.outputs, *spec.kept):
            kinds[name] = "latents" if name.startswith("latents/") else "result"
    return kinds


def _kind_of(path: Path, name: str, frames: Path | None) -> Kind:
    if is_part(path):
        return "leftover"
    if frames is not None and Path(name).parent == frames and _FRAME.fullmatch(path.name):
        return "result"
    kinds: list[Kind] = [kind for kind, pattern in _PATTERNS if pattern.fullmatch(name)]
    return kinds[0] if kinds else "foreign"


def _walk(folder: Path) -> Iterator[Path]:
    """All that is no folder, links and pipes included."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
            else:
                yield Path(entry.path)
