"""Disk space: what each stage takes at most, and whether it is there."""

from __future__ import annotations

import shutil
from pathlib import Path

from sana_wm.errors import HandoffError, SanaWMError
from sana_wm.handoff.run_directory import RunDirectory, Stage
from sana_wm.manifest.model import Manifest

BYTES_PER_LATENT = 128 * 4
#: Receipts, logs, events, text encodings, contact sheet, metrics; a share for each stage.
SMALL_FILES_BYTES = 12 * 1024**2


def needed_bytes(manifest: Manifest, stage: Stage) -> int:
    """Disk that a stage takes at most: its outputs, and two checkpoints with the one that is being written.

    Stage 1's conditioning is less than two latents. The video is bounded by 0.5 bits a pixel, three times what libx264
    at crf 18 makes of noise-free footage, and there twice, as segments and joined; a PNG of a frame by its pixels.
    """
    latents_bytes = manifest.latent_num_frames * manifest.latent_height * manifest.latent_width * BYTES_PER_LATENT
    pixels = manifest.video.num_frames * manifest.video.height * manifest.video.width
    pictures_bytes = 3 * pixels if manifest.video.frames_dir else 0
    largest = {
        "stage1": 6 * latents_bytes,
        "refiner": 4 * latents_bytes,
        "vae_decode": 2 * pixels // 16 + pictures_bytes,
    }
    return largest[stage] + SMALL_FILES_BYTES


def check_space(run: RunDirectory, manifest: Manifest, stage: Stage, after: SanaWMError | None = None) -> None:
    """Look at the disk before a stage begins, or after it failed; what it left there before counts as there.

    Raises:
        HandoffError: There is too little free space, or the directory is gone.
    """
    try:
        free_bytes = shutil.disk_usage(run.path).free
        held_bytes = sum(map(_held_bytes, run.belongings(stage)))
    except OSError as error:
        if after is not None:
            return  # that says it already
        raise HandoffError(f"{run.path} cannot be read", got=error.strerror or str(error)) from error
    missing_bytes = needed_bytes(manifest, stage) - held_bytes - free_bytes
    if missing_bytes > 0:
        raise HandoffError(
            f"too little free space in {run.path} for stage {stage}",
            got=f"{free_bytes} bytes" + (f", and from the stage: {after}" if after is not None else ""),
            expected=f"{free_bytes + missing_bytes} bytes or more",
            next_step=f"Free {missing_bytes} bytes, then go on with: sana-wm resume {run.path}",
        ) from after


def existing_part(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(part for part in (folder, *folder.parents) if part.exists())


def _held_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())
