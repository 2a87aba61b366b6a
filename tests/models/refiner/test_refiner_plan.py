"""The plan: resident when it fits, otherwise as many blocks as fit, and what full size needs."""

from __future__ import annotations

from typing import Any

import pytest

GIB = 2**30
LATENT_SHAPE = (1, 128, 41, 22, 40)


@pytest.fixture(scope="module")
def full_size_transformer() -> Any:
    from diffusers import SanaWMLTX2RefinerTransformer3DModel

    from sana_wm.models.loading import build_empty

    return build_empty(lambda: SanaWMLTX2RefinerTransformer3DModel(rope_type="split"))


def sizes(transformer: Any, mode: Any = "autoregressive", **options: Any) -> Any:
    import torch

    from sana_wm.models.refiner.plan import measure_refiner

    return measure_refiner(transformer, LATENT_SHAPE, mode=mode, dtype=torch.bfloat16, **options)


def test_full_size_weights_are_the_video_half(full_size_transformer: Any) -> None:
    measured = sizes(full_size_transformer)
    per_block = measured.block_bytes + measured.prompt_projection_bytes
    assert measured.fixed_bytes + 48 * per_block == 2 * 13_041_520_768


def test_full_size_fits_34_gb_resident_and_16_gib_streamed(full_size_transformer: Any) -> None:
    from sana_wm.models.refiner.plan import plan_refiner

    measured = sizes(full_size_transformer)
    assert plan_refiner(measured, int(34e9)).mode == "resident"
    streamed = plan_refiner(measured, 16 * GIB)
    assert streamed.mode == "streamed"
    assert streamed.resident_blocks >= 10
    assert streamed.predicted_bytes <= 16 * GIB
    assert "blocks stay" in streamed.reason


@pytest.mark.parametrize("mode", ["autoregressive", "single_shot"])
def test_a_larger_budget_keeps_more_blocks_and_never_exceeds_it(full_size_transformer: Any, mode: str) -> None:
    from sana_wm.models.refiner.plan import plan_refiner

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
    from sana_wm.models.refiner.plan import plan_refiner

    measured = sizes(full_size_transformer)
    with pytest.raises(MemoryCapError, match=r"expected at least 1\d\.\d GiB"):
        plan_refiner(measured, 4 * GIB)
    assert plan_refiner(measured, measured.streamed_bytes(0)).resident_blocks == 0


@pytest.mark.parametrize("kv_max_frames", [1, 5, 100])
def test_the_planned_window_is_the_allocated_one(refiner_case: Any, kv_max_frames: int) -> None:
    import torch

    from sana_wm.models.refiner.kv_window import KVWindow
    from sana_wm.models.refiner.plan import measure_refiner
    from sana_wm.models.refiner.refine import refine_autoregressive
    from sana_wm.models.refiner.transformer import RefinerEngine

    case = refiner_case(9)
    engine = RefinerEngine(case.transformer)
    windows: list[KVWindow] = []
    make_window = engine.new_window
    engine.new_window = lambda *sizes: (windows.append(make_window(*sizes)), windows[-1])[1]
    inputs = (case.latents, case.prompt_embeds, case.prompt_attention_mask)
    generator = torch.Generator("cpu")
    refine_autoregressive(engine, *inputs, fps=16.0, generator=generator, kv_max_frames=kv_max_frames)
    measured = measure_refiner(
        case.transformer,
        tuple(case.latents.shape),
        mode="autoregressive",
        dtype=torch.float32,
        kv_max_frames=kv_max_frames,
    )
    kept = sum(t.nbytes for name, t in windows[0].to_tensors().items() if "key" in name or "value" in name)
    assert measured.window_bytes == kept + windows[0].key.nbytes + windows[0].value.nbytes
