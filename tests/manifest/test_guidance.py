"""How many steps run with guidance, exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_wm.errors import ManifestError
from sana_wm.manifest.guidance import guided_steps, step_passes
from sana_wm.manifest.loading import parse_manifest
from sana_wm.manifest.model import Manifest, Stage1Section


@pytest.mark.parametrize(
    ("until", "steps", "guided"),
    [(1.0, 60, 60), (0.5, 40, 20), (0.5, 5, 3), (0.0, 60, 0), (1e-9, 60, 1), (0.28, 25, 7), (0.14, 50, 7)],
)
def test_a_step_is_guided_while_its_number_is_below_the_share(until: float, steps: int, guided: int) -> None:
    """0.28 of 25 are 7; as binary fractions they are a little more, which would make 8."""
    assert guided_steps(Stage1Section(num_inference_steps=steps, guidance_until=until)) == guided


@given(hundredths=st.integers(0, 100), steps=st.integers(1, 200))
def test_the_rule_holds_in_whole_numbers(hundredths: int, steps: int) -> None:
    stage1 = Stage1Section(num_inference_steps=steps, guidance_until=hundredths / 100)
    passes = step_passes(stage1)
    assert passes == tuple(2 if 100 * step < hundredths * steps else 1 for step in range(steps))


def test_no_step_is_guided_where_guidance_is_off() -> None:
    assert step_passes(Stage1Section(num_inference_steps=3, guidance_scale=1.0)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("stage1", "said"),
    [
        ({"guidance_until": 0.5, "guidance_scale": 1.0}, "guidance_until has no guidance to end"),
        ({"guidance_until": 1.5}, "guidance_until"),
        ({"guidance_until": -0.1}, "guidance_until"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tiny: Any, stage1: dict[str, float], said: str) -> None:
    data = tiny(Path("picture.png"), {"root": "weights", "gemma_root": "gemma"}) | {"stage1": stage1}
    with pytest.raises(ManifestError, match=said):
        parse_manifest(data, Manifest)
