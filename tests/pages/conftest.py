"""Folders in which the commands of the pages run: the weights were named once, nothing else is there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import made_once

Shell = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def tiny_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint of the streaming model, as diffusers lays it out."""
    with made_once(tmp_path_factory, "student") as (folder, is_empty):
        out = folder / "student"
        if is_empty:
            options = ["--layout", "diffusers", "--variant", "streaming", "--out", str(out)]
            command = [sys.executable, "-m", "sana_wm.weights", "tiny", *options]
            subprocess.run(command, check=True, capture_output=True)
        return out


@pytest.fixture(scope="session")
def remembered_weights(
    tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, dict[str, Any]], tiny_student: Path
) -> dict[str, str]:
    """The environment of a user whose weights are known: `sana-wm weights use` named both models once."""
    folder = tmp_path_factory.mktemp("user")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SANA_WM_")} | {
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    for variant, root in (("bidirectional", tiny_models["diffusers"]["root"]), ("streaming", tiny_student)):
        command = [sys.executable, "-m", "sana_wm", "weights", "use", str(root), "--variant", variant]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    return environment


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder that the commands are typed in."""
    folder = tmp_path / "work"
    (folder / "runs").mkdir(parents=True)
    return folder


@pytest.fixture
def shell(tmp_path: Path, work: Path, remembered_weights: dict[str, str]) -> Shell:
    """Runs a line in `work`, as a shell would."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    program = binaries / "sana-wm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sana_wm "$@"\n')
    program.chmod(0o755)
    environment = remembered_weights | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(line, shell=True, cwd=work, env=environment, capture_output=True, text=True, check=False)

    return run
