"""What a run was made from: kept in its manifest, known again, and no reason to run anything again."""

from __future__ import annotations

import json
from pathlib import Path

from sana_wm.drafting.lineage import Parent, changed_names, made_from
from sana_wm.manifest.portable import parse_portable, portable_json, rerun_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES
from sana_wm.runs.receipts import stage_settings
from sana_wm.runs.run_directory import RunDirectory

EARLIER_RUN = Path(__file__).parents[1] / "pipeline" / "earlier_run" / "run"


def child(folder: Path) -> tuple[Parent, RunManifest]:
    """The earlier run's parent record, and a manifest that says it was varied from it."""
    parent = Parent.of(RunDirectory(EARLIER_RUN))
    data = rerun_manifest(parent.manifest)
    data["stage1"]["seed"], data["output_dir"] = 7, str(folder)
    written = made_from(parent, "vary", data)
    manifest = parent.manifest.model_dump(mode="json") | {"made_from": written}
    return parent, RunManifest.model_validate_json(json.dumps(manifest))


def test_it_names_what_was_changed_and_nothing_of_its_own(tmp_path: Path) -> None:
    parent, manifest = child(tmp_path)
    assert manifest.made_from is not None
    assert manifest.made_from.changed == ("stage1.seed",)
    assert manifest.made_from.run == str(EARLIER_RUN)
    assert changed_names(rerun_manifest(parent.manifest), rerun_manifest(parent.manifest)) == ()


def test_it_steers_nothing(tmp_path: Path) -> None:
    parent, manifest = child(tmp_path)
    for stage in STAGES:
        assert stage_settings(manifest, stage) == stage_settings(parent.manifest, stage)


def test_a_video_that_travels_names_no_home_folder(tmp_path: Path) -> None:
    _, manifest = child(tmp_path)
    text = portable_json(manifest, EARLIER_RUN.parent)
    assert text is not None
    kept = parse_portable(text)
    assert kept.made_from is not None
    assert kept.made_from.run == "~/run"


def test_a_run_made_again_is_of_no_other(tmp_path: Path) -> None:
    _, manifest = child(tmp_path)
    assert "made_from" not in rerun_manifest(manifest)
