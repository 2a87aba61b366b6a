"""The package of the PR #379 patch, and checkouts to put it into."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOW = "SANA_WM_PR_ROOT=/path/to/Sana pytest tests/pr379, with a clone of NVlabs/Sana at 40151c8"


@pytest.fixture(scope="session")
def make_patch() -> Any:
    """The generator, `patches/pr379/make_patch.py`."""
    spec = importlib.util.spec_from_file_location("make_patch", ROOT / "patches" / "pr379" / "make_patch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def package(make_patch: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `sana_wm_mps` as a checkout would have it, on the import path."""
    folder = tmp_path_factory.mktemp("package")
    for name, content in make_patch.package_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "sana_wm_mps"]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def pr_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the user's checkout of NVlabs/Sana with the patch applied; skips where there is none."""
    from sana_wm.replacements.checkout import apply_patch, revert_patch

    given = os.environ.get("SANA_WM_PR_ROOT")
    if not given:
        pytest.skip(f"no checkout of NVlabs/Sana; run: {HOW}")
    copy = tmp_path_factory.mktemp("checkout") / "Sana"
    shutil.copytree(given, copy, ignore=shutil.ignore_patterns("__pycache__", "sana_wm_mps"))
    revert_patch(copy)
    apply_patch(copy)
    return copy


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder; its output."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A git repository with the files that make it one of NVlabs/Sana."""
    from sana_wm.replacements.checkout import LANDMARKS

    folder = tmp_path / "Sana"
    for name in LANDMARKS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("upstream = True\n")
    git(tmp_path, "init", "-q", str(folder))
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "upstream")
    return folder
