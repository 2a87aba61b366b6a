"""The plan: resident when it fits, otherwise as many blocks as fit, and what full size needs."""

from __future__ import annotations

from typing import Any

import pytest

from sana_wm.weights.stored import entries_of

GIB = 2**30
LATENT_SHAPE = (1, 128, 41, 22, 40)


@pytest.fixture(scope="module")
def full_size_transformer() -> Any:
    from diffusers import SanaWMLTX2RefinerTransformer3DModel

    from sana_wm.models.loading import build_empty

    return build_empty(lambda: SanaWMLTX2RefinerTransformer3DModel(rope_type="split"))


def sizes(transformer: Any, mode: Any = "autoregressive", **options: Any) -> Any:
    from sana_wm.planning.refiner import Refinement, measure_refiner

    tensors = entries_of(((name, tuple(weight.shape)) for name, weight in transformer.named_parameters()), "BF16")
    return measure_refiner(tensors, transformer.config, Refinement(LATENT_SHAPE, mode, **options), 2)


def test_full_size_weights_are_the_video_half(full_size_transformer: Any) -> None:
    measured = sizes(full_size_transformer)
    per_block = measured.block_bytes + measured.prompt_projection_bytes
    assert measured.fixed_bytes + 48 * per_block == 2 * 13_041_520_768


def test_full_size_fits_34_gb_resident_and_16_gib_streamed(full_size_transformer: Any) -> None:
    from sana_wm.planning.refiner import plan_refiner

    measured = sizes(full_size_transformer)
    assert plan_refiner(measured, int(34e9)).mode == "resident"
    streamed = plan_refiner(measured, 16 * GIB)
    assert streamed.mode == "streamed"
    assert streamed.resident_blocks >= 10
    assert streamed.predicted_bytes <= 16 * GIB
    assert "blocks stay" in streamed.reason


@pytest.mark.parametrize("mode", ["autoregressive", "single_shot"])
def test_a_larger_budget_keeps_more_blocks_and_never_exceeds_it(full_size_transformer: Any, mode: str) -> None:
    from sana_wm.planning.refiner import plan_refiner

    measured = sizes(full_size_transformer, mode)
    smallest = measured.streamed_bytes(0)
    plans = [plan_refiner(measured, budget) for budget in range(smallest, 40 * GIB, GIB // 2)]
    kept = [plan.resident_blocks for plan in plans]
    assert kept == sorted(kept)
    assert kept[0] == 0
    assert (plans[0].mode, plans[-1].mode) == ("streamed", "resident")
    for plan, budget in zip(plans, range(smallest, 40 * GIB, GIB // 2), strict=True):
        assert plan.predicted_bytes <= budget


def test_a_budget_below_one_block_is_refused_with_the_smallest_that_works(full_size_transformer: Any) -> None:
    from sana_wm.errors import MemoryCapError
    from sana_wm.planning.refiner import plan_refiner

    measured = sizes(full_size_transformer)
    with pytest.raises(MemoryCapError, match=r"expected at least 1\d\.\d GiB"):
        plan_refiner(measured, 4 * GIB)
    assert plan_refiner(measured, measured.streamed_bytes(0)).resident_blocks == 0


def test_host_buffers_hold_blocks_as_they_lie_in_the_file(full_size_transformer: Any) -> None:
    from sana_wm.planning.refiner import Refinement, measure_refiner

    shapes = [(name, tuple(weight.shape)) for name, weight in full_size_transformer.named_parameters()]
    asked = Refinement(LATENT_SHAPE, "autoregressive")
    in_float32 = measure_refiner(entries_of(shapes, "F32"), full_size_transformer.config, asked, 2)
    assert in_float32.host_bytes == 2 * sizes(full_size_transformer).host_bytes
    assert in_float32.resident_bytes == sizes(full_size_transformer).resident_bytes


@pytest.mark.parametrize(("mode", "passes"), [("autoregressive", 56), ("single_shot", 4)])
def test_passes_that_read_every_block_are_counted(mode: Any, passes: int) -> None:
    from sana_wm.planning.refiner import Refinement

    assert Refinement(LATENT_SHAPE, mode).passes == passes
