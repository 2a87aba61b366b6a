"""A folder of runs in every state, made from one finished run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.durable import sha256_of

CopyRun = Callable[..., Path]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder for runs."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def copy_run(runs: Path, finished_run: Path, edit_run_manifest: Callable[..., None]) -> CopyRun:
    """Put a copy of the finished run into the folder, made from another run where one is named."""

    def copy(name: str, parent: Path | None = None, /, **changes: object) -> Path:
        run = Path(shutil.copytree(finished_run, runs / name))
        if parent is not None:
            changes["made_from"] = {
                "verb": "vary",
                "run": str(parent),
                "manifest_sha256": sha256_of(parent / "manifest.json"),
                "frame": None,
                "changed": ["stage1.seed"],
            }
        if changes:
            edit_run_manifest(run, **changes)
        return run

    return copy
