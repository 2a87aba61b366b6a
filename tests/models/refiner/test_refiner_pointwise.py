"""The compiled functions compute what the plain ones do."""

from __future__ import annotations

import shutil
from typing import Any

import pytest


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile for the CPU needs a compiler")
def test_a_refinement_with_compiled_functions_equals_the_plain_one(refiner_case: Any) -> None:
    import torch

    from sana_wm.models.refiner.pointwise import compiled
    from sana_wm.models.refiner.refine import refine_autoregressive
    from sana_wm.models.refiner.transformer import RefinerEngine

    case = refiner_case(8)

    def refine(**options: Any) -> Any:
        generator = torch.Generator("cpu").manual_seed(42)
        inputs = (case.latents, case.prompt_embeds, case.prompt_attention_mask)
        return refine_autoregressive(RefinerEngine(case.transformer, **options), *inputs, fps=16.0, generator=generator)

    torch.testing.assert_close(refine(pointwise=compiled()), refine(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotating_keeps_lengths_and_turns_by_the_angle(interleaved: bool) -> None:
    import torch

    from sana_wm.models.refiner.pointwise import rotate

    x = torch.zeros(1, 1, 1, 4)
    x[..., 0] = 1.0  # the first member of the first pair
    angle = torch.tensor([0.5, 0.0]).view(1, 1, 1, 2)
    turned = rotate(x, angle.cos(), angle.sin(), interleaved)
    second = 1 if interleaved else 2
    expected = torch.zeros(4)
    expected[0], expected[second] = torch.tensor(0.5).cos(), torch.tensor(0.5).sin()
    torch.testing.assert_close(turned.flatten(), expected)
