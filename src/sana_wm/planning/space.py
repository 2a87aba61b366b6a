"""Disk space: what each stage takes at most, and whether it is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from sana_wm.errors import HandoffError, SanaWMError
from sana_wm.manifest.model import Manifest
from sana_wm.names import Stage
from sana_wm.pipeline import PIPELINE
from sana_wm.runs.run_directory import RunDirectory

#: Receipts, logs, events, text encodings, contact sheet, metrics; a share for each stage.
SMALL_FILES_BYTES = 12 * 1024**2


def _needed_by_folder(run_folder: Path, manifest: Manifest, stage: Stage) -> dict[Path, int]:
    """What a stage takes at most in the run directory, and in the folder for frames where there is one.

    Receipts, logs and other small files have a share for each stage.
    """
    spec = PIPELINE[stage]
    needed = {run_folder: spec.run_bytes(manifest) + SMALL_FILES_BYTES}
    frames_folder = RunDirectory(run_folder).frames_folder(manifest)
    if frames_folder is not None and spec.frames_bytes(manifest):
        needed[frames_folder] = needed.get(frames_folder, 0) + spec.frames_bytes(manifest)
    return needed


def needed_by_volume(run_folder: Path, manifest: Manifest, stages: Iterable[Stage]) -> dict[Path, int]:
    """What stages take at most together, by one folder of theirs on each volume that they write to.

    Args:
        run_folder: The run directory, wherever it lies now.
        manifest: What runs.
        stages: The stages.

    Raises:
        OSError: A volume cannot be looked at.
    """
    first_on: dict[int, Path] = {}
    needed: dict[Path, int] = {}
    for stage in stages:
        for folder, size_bytes in _needed_by_folder(run_folder, manifest, stage).items():
            place = first_on.setdefault(existing_part(folder).stat().st_dev, folder)
            needed[place] = needed.get(place, 0) + size_bytes
    return needed


def check_space(run: RunDirectory, manifest: Manifest, stage: Stage, after: SanaWMError | None = None) -> None:
    """Look at the disks before a stage begins, or after it failed; what it left there before counts as there.

    Raises:
        HandoffError: There is too little free space, or the directory is gone.
    """
    try:
        run.path.stat()  # an existing folder above it would be no answer
        needed = needed_by_volume(run.path, manifest, [stage])
        free = {folder: free_bytes_at(folder) for folder in needed}
        # Before it begins, an earlier result makes no room: it stays until the new one takes its place.
        there = (run.checkpoint_folder(stage),) if after is None else run.belongings(stage)
        held = {run.path: sum(map(_held_bytes, there))}
        frames_folder = run.frames_folder(manifest)
        if frames_folder is not None and PIPELINE[stage].frames_bytes(manifest):
            place = frames_folder if frames_folder in needed else run.path
            held[place] = held.get(place, 0) + sum(map(_held_bytes, frames_folder.glob("[0-9]*.png")))
    except OSError as error:
        if after is not None:
            return  # that says it already
        raise HandoffError(f"{run.path} cannot be read", got=error.strerror or str(error)) from error
    for folder, free_bytes in free.items():
        missing_bytes = needed[folder] - held.get(folder, 0) - free_bytes
        if missing_bytes > 0:
            raise HandoffError(
                f"too little free space in {folder} for stage {stage}",
                got=f"{free_bytes} bytes" + (f", and from the stage: {after}" if after is not None else ""),
                expected=f"{free_bytes + missing_bytes} bytes or more",
                next_step=f"Free {missing_bytes} bytes, then go on with: {run.resume_command}",
            ) from after


def free_bytes_at(folder: Path) -> int:
    """Free space on the volume of a folder that need not be there yet."""
    return shutil.disk_usage(existing_part(folder)).free


def existing_part(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(part for part in (folder, *folder.parents) if part.exists())


def _held_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())
