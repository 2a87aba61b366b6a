"""The table of presets: one takes another's place, of either model, without a rest of it."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from sana_wm.drafting.presets import DEFAULT_PRESET, PRESETS, apply_preset, preset_settings
from sana_wm.errors import UsageError
from sana_wm.manifest.field_table import manifest_fields
from sana_wm.manifest.guidance import step_passes
from sana_wm.manifest.model import Stage1Section
from sana_wm.names import Variant
from sana_wm.variants import MODELS

KINDS: list[tuple[str, Variant]] = [(name, variant) for name, one in PRESETS.items() for variant in one.settings]


@pytest.mark.parametrize("variant", MODELS)
def test_presets_of_a_model_name_the_same_fields_and_only_its_own(variant: Variant) -> None:
    named = {frozenset(preset.settings[variant]) for preset in PRESETS.values() if variant in preset.settings}
    (fields,) = named
    model = MODELS[variant]
    assert fields <= set(manifest_fields())
    assert not fields & {*model.unread, *model.taught}


@pytest.mark.parametrize(("before", "after"), product(KINDS, KINDS))
def test_a_preset_takes_the_place_of_another(before: tuple[str, Variant], after: tuple[str, Variant]) -> None:
    changed: dict[str, Any] = {"stage1": {"seed": 7}}
    apply_preset(changed, *before)
    apply_preset(changed, *after)
    fresh: dict[str, Any] = {"stage1": {"seed": 7}}
    apply_preset(fresh, *after)
    assert changed == fresh
    assert changed["stage1"]["seed"] == 7


def test_the_first_is_the_default_and_there_is_one_of_every_model() -> None:
    assert next(iter(PRESETS)) == DEFAULT_PRESET
    assert all(variant in PRESETS[DEFAULT_PRESET].settings for variant in MODELS)


def test_fast_takes_half_the_passes_of_the_authors_settings() -> None:
    passes = {}
    for name in ("fast", "author-defaults"):
        settings = preset_settings(name, "bidirectional")
        stage1 = {field.partition(".")[2]: value for field, value in settings.items() if field.startswith("stage1.")}
        passes[name] = sum(step_passes(Stage1Section(**stage1)))
    assert passes == {"fast": 60, "author-defaults": 120}


@pytest.mark.parametrize(
    ("name", "variant", "said"),
    [("quick", "streaming", "--preset names none"), ("fast", "streaming", "no preset fast")],
)
def test_what_a_model_has_not_is_refused_with_what_it_has(name: str, variant: Variant, said: str) -> None:
    with pytest.raises(UsageError, match=f"{said}.*expected draft, standard, author-defaults"):
        preset_settings(name, variant)
