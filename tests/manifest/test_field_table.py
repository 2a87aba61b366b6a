"""What stands at the manifest's fields is complete, and says what receipts said before it stood there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sana_wm.manifest.field_table import manifest_fields, path_fields
from sana_wm.manifest.fields import FieldFacts
from sana_wm.names import STAGES
from sana_wm.pipeline import PIPELINE
from sana_wm.runs.receipts import stage_settings
from sana_wm.runs.run_directory import RunDirectory

EARLIER_RUN = Path(__file__).parents[1] / "pipeline" / "earlier_run" / "run"
#: Parts that a stage keeps for its next start, as fields name them; one file may hold several.
PARTS = {"stage1/conditioning", *(target for spec in PIPELINE.values() for target in spec.parts)}
#: What is text for people or machines, and no path.
WORDS = {"name", "input.prompt", "input.negative_prompt", "camera.action", "model.backend"}


@pytest.mark.parametrize("name", manifest_fields())
def test_every_field_says_what_it_steers(name: str):
    found = [fact for fact in manifest_fields()[name].info.metadata if isinstance(fact, FieldFacts)]
    assert len(found) == 1
    assert set(found[0].steers) <= {*STAGES, *PARTS}


def test_every_field_that_takes_any_text_is_a_path_or_known_as_words():
    free = {name for name, field in manifest_fields().items() if "str" in str(field.info.annotation).split("[")[0]}
    free |= {name for name, field in manifest_fields().items() if field.info.annotation in (str, str | None)}
    assert free - WORDS <= set(path_fields())


def test_every_part_that_a_field_steers_is_kept_by_its_stage():
    for part in PARTS:
        stage, name = part.split("/")[:2]
        assert any(name in Path(kept).stem for kept in PIPELINE[stage].kept)


@pytest.mark.parametrize("stage", ["stage1", "refiner", "vae_decode"])
def test_settings_are_those_that_an_earlier_release_wrote_into_its_receipts(stage: str):
    """Fields that came later have defaults, which say nothing against what was made before."""
    run = RunDirectory(EARLIER_RUN)
    then = json.loads(run.receipt_file(stage).read_text())["settings"]
    now = stage_settings(run.read_manifest(), stage)
    assert {name: now.get(name) for name in then} == then
    assert {name.split("sha256 of ")[-1] for name in now.keys() - then.keys()} <= set(manifest_fields())
    came_later = {"model.variant", "model.weights", "input.crop", "camera.poses_convention", "camera.poses_fps"}
    of_stage1 = {"stage1.chunk_noise", "stage1.streaming_version", "stage1.guidance_until"}
    assert set(now) - set(then) <= came_later | of_stage1
