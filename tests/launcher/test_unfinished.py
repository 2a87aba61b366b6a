"""What an interrupted stage saved is used by what began it, or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_runs import WEIGHTS, beginning
from sana_wm.backends import DIFFUSERS
from sana_wm.durable import make_part
from sana_wm.errors import (
    HandoffError,
)
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.pipeline import PIPELINE
from sana_wm.runs.decisions import decide
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.unfinished import begin, read_beginning, versions_that_count
from sana_wm.weights.manifest_layout import WeightFile


def with_seed(manifest: RunManifest, seed: int) -> RunManifest:
    return manifest.model_copy(update={"stage1": manifest.stage1.model_copy(update={"seed": seed})})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"computed_by": versions_that_count(DIFFUSERS, "stage1") | {"chip": "M3"}}, 'chip: "M1" -> "M3"'),
        ({"computed_by": versions_that_count(DIFFUSERS, "stage1") | {"chip": "M1", "torch": "1.0"}}, ' -> "1.0"'),
        ({"weights": (WEIGHTS.model_copy(update={"size_bytes": 6}),)}, "dit.safetensors) is not the file it ran with"),
        ({}, "stage1.seed: 42 -> 7"),
    ],
)
def test_a_half_done_stage_goes_on_with_nothing_but_what_began_it(
    run: RunDirectory, resolved: RunManifest, unfinished: Path, changes: dict[str, Any], said: str
) -> None:
    """The rule of docs/runs.md; the stages themselves begin so."""
    begin(run, resolved, beginning(resolved))
    now = resolved if changes else with_seed(resolved, 7)
    with pytest.raises(HandoffError, match="unfinished, and not by what would go on") as caught:
        begin(run, now, beginning(now, **changes))
    assert said in str(caught.value)
    assert f"{run.resume_command} --from stage1" in str(caught.value)
    assert unfinished.exists()
    assert read_beginning(run, "stage1") == beginning(resolved)


def test_a_dry_run_says_that_a_half_done_stage_will_be_refused(
    run: RunDirectory, resolved: RunManifest, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reason(weights: tuple[WeightFile, ...] = (WEIGHTS,)) -> str:
        return decide(run, resolved, weights)[0].reason

    assert reason() == "not finished yet; goes on from its checkpoint"
    assert "is not the file it ran with): refused" in reason((WEIGHTS.model_copy(update={"size_bytes": 6}),))
    monkeypatch.setitem(PIPELINE, "stage1", replace(PIPELINE["stage1"], results_version=2))
    changed = 'results_version: "1" -> "2"'
    assert reason() == f"left unfinished by others ({changed}): refused, unless --from stage1 starts it over"
    monkeypatch.undo()
    run.beginning_file("stage1").write_bytes(b"")
    assert "beginning.json, which says what began it, is damaged or missing): refused" in reason()
    with pytest.raises(HandoffError, match="is damaged or missing"):
        begin(run, resolved, beginning(resolved))
    assert unfinished.exists()


def test_a_stage_that_has_done_nothing_yet_binds_nobody(run: RunDirectory, resolved: RunManifest) -> None:
    for chip in ("M1", "M3"):
        here = beginning(resolved, computed_by={"chip": chip})
        begin(run, resolved, here)
        (run.checkpoint_folder("stage1") / ".DS_Store").touch()
        make_part(run.checkpoint_folder("stage1") / "00001.safetensors")
        assert read_beginning(run, "stage1") == here
        assert decide(run, resolved, [])[0].reason == "not done yet"


def test_what_is_unfinished_of_another_source_is_of_no_use(
    run: RunDirectory, resolved: RunManifest, unfinished: Path
) -> None:
    here = beginning(resolved, source_sha256="other latents")
    begin(run, resolved, here)
    assert not unfinished.exists()
    assert read_beginning(run, "stage1") == here
