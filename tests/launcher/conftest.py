"""Runs with fake stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fake_runs import CAP_GIB, beginning
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.preflight.checks import resolve_manifest
from sana_wm.runs.lock import owning
from sana_wm.runs.prepare import prepare
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.unfinished import begin


@pytest.fixture
def resolved(write_manifest: Callable[..., Path]) -> RunManifest:
    return resolve_manifest(load_manifest(write_manifest(memory__cap_gib=CAP_GIB), {}))


@pytest.fixture
def run(resolved: RunManifest) -> RunDirectory:
    directory = RunDirectory(Path(resolved.output_dir))
    with owning(directory):
        prepare(directory, resolved, force=False)
    return directory


@pytest.fixture
def unfinished(run: RunDirectory, resolved: RunManifest) -> Path:
    """What stage 1 saved before it was interrupted."""
    begin(run, resolved, beginning(resolved))
    saved = run.checkpoint_folder("stage1") / "00003.safetensors"
    saved.write_text("three steps")
    return saved
