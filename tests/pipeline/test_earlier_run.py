"""A run directory that an earlier release left (2026-11-28, commit 6fd2cc5) is verified and resumed by this one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.runs.sealed import read_sealed, write_sealed

EARLIER = Path(__file__).parent / "earlier_run"
#: Where it was made: its folders are found anew here.
FOLDER_THEN = "/tmp/before"


@pytest.fixture
def earlier_run(tmp_path: Path) -> Path:
    """The run with its picture and weights beside it, its folders renamed as a move of all of them would."""
    shutil.copytree(EARLIER, tmp_path, dirs_exist_ok=True)
    tiny = [sys.executable, "-m", "sana_wm.weights", "tiny", "--layout", "original", "--out", str(tmp_path / "weights")]
    subprocess.run(tiny, check=True, capture_output=True)
    manifest_file = tmp_path / "run" / "manifest.json"
    text = read_sealed(manifest_file, next_step="").decode()
    write_sealed(manifest_file, text.replace(FOLDER_THEN, str(tmp_path)))
    return tmp_path / "run"


def test_it_is_whole_and_goes_on_where_a_stage_is_missing(
    earlier_run: Path, sana_wm: Callable[..., tuple[int, str, str]]
):
    code, said, _ = sana_wm("verify", earlier_run, "--json")
    states = {link["name"]: link["state"] for link in json.loads(said)["links"]}
    assert code == 0
    assert {name: state for name, state in states.items() if state not in ("holds", "noted")} == {}

    (earlier_run / "receipts" / "vae_decode.json").unlink()
    code, _, said = sana_wm("resume", earlier_run)
    assert code == 0, said
    assert [line.split()[:2] for line in said.splitlines()[:4]] == [
        ["stage1", "skip"],
        ["preview", "off"],  # a stage that came later, and nobody needs it any more
        ["refiner", "skip"],
        ["vae_decode", "run"],
    ]
    assert sana_wm("verify", earlier_run)[0] == 0
