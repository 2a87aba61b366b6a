"""What the transformer does between its matrix products."""

from __future__ import annotations

import pytest


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
