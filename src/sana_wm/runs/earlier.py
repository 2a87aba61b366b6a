"""The finished run that another goes on from: where it lies, and which of its files the other reads."""

from __future__ import annotations

from pathlib import Path

from sana_wm.manifest.model import Manifest
from sana_wm.runs.run_directory import RunDirectory


def earlier_run(manifest: Manifest) -> RunDirectory | None:
    """The run that a manifest goes on from; `None` where it begins with its picture."""
    source = manifest.input.continues
    return RunDirectory(Path(source).parents[1]) if source is not None else None


def earlier_files(manifest: Manifest) -> dict[str, Path]:
    """What a run reads of the one that it goes on from besides its Stage 1 latents, by the name of the input.

    What its last chunk left is not among them: that vouches for itself, and is made again where it is gone.
    """
    run = earlier_run(manifest)
    if run is None:
        return {}
    files = {"input.continues.conditioning": run.conditioning_file}
    if manifest.refiner.enabled and run.refined_file.is_file():
        files["input.continues.refined"] = run.refined_file
    return files
