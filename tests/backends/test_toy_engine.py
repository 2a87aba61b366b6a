"""The next engine needs no change elsewhere: one that lives beside this test registers itself and runs a manifest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sana_wm.backends import GROUP, find_backend
from sana_wm.launcher.start import Audience, start
from sana_wm.preflight.prospect import inspect
from sana_wm.runs.receipts import read_receipt

Write = Callable[..., Path]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy engine as an installed package: a module, and metadata that names its backend."""
    site = tmp_path / "site"
    metadata = site / "toy_engine-1.0.dist-info"
    metadata.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("toy_engine.py"), site)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-engine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\ntoy = toy_engine:TOY\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    find_backend.cache_clear()


@pytest.fixture
def toy_manifest(write_manifest: Write) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        return write_manifest(**{"model__backend": "toy", "refiner": {"mode": "single_shot"}, **changes})

    return write


@pytest.mark.usefixtures("installed")
def test_it_runs_from_one_look_to_the_video(toy_manifest: Write):
    prospect = inspect(toy_manifest(), os.environ)
    run, _, plan = prospect.require()
    assert [phase.mode for phase in plan.phases if phase.phase == "transformer"] == ["toy", "toy"]

    start(prospect, os.environ, Audience())
    receipt = read_receipt(run, "stage1")
    assert receipt is not None
    assert receipt.plan["engine"] == "toy"
    assert receipt.settings["model.backend"] == "toy"
    assert json.loads(run.metrics_file.read_text())["stages_run"] == ["stage1", "refiner", "vae_decode"]
    assert run.video_file.stat().st_size > 0


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("refiner.mode", {"refiner": {"mode": "autoregressive"}}),
        ("stage1.guidance_until", {"stage1__guidance_until": 0.5}),
    ],
)
def test_it_is_refused_by_name_where_it_cannot(toy_manifest: Write, field: str, change: dict[str, Any]):
    prospect = inspect(toy_manifest(**change), os.environ)
    assert [problem.field for problem in prospect.problems] == [field]
    assert "with backend toy" in str(prospect.errors[0])


def test_without_it_its_name_is_unknown(toy_manifest: Write):
    find_backend.cache_clear()
    prospect = inspect(toy_manifest(), os.environ)
    assert "there is no backend toy" in str(prospect.errors[0])
