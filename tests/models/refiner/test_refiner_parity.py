"""Our refinement against diffusers' pipeline and against what PR #379's own code computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TOLERANCE = 1e-5


def autoregressive(case: Any, **options: Any) -> Any:
    import torch

    from sana_wm.models.refiner.refine import refine_autoregressive
    from sana_wm.models.refiner.transformer import RefinerEngine

    return refine_autoregressive(
        RefinerEngine(case.transformer),
        case.latents,
        case.prompt_embeds,
        case.prompt_attention_mask,
        fps=16.0,
        generator=torch.Generator("cpu").manual_seed(42),
        **options,
    )


def largest_difference(a: Any, b: Any) -> float:
    return (a - b).abs().max().item()


@pytest.mark.parametrize("rope_type", ["split", "interleaved"])
@pytest.mark.parametrize("sink_size", [1, 2])
@pytest.mark.parametrize("num_frames", [3, 5, 8, 13])
def test_autoregressive_equals_diffusers(refiner_case: Any, rope_type: str, sink_size: int, num_frames: int) -> None:
    case = refiner_case(num_frames, rope_type)
    options = {"sink_size": sink_size, "block_size": 3, "kv_max_frames": 6}
    ours, theirs = autoregressive(case, **options), case.diffusers_refine(**options)
    assert largest_difference(ours, theirs) <= TOLERANCE
    assert largest_difference(theirs[:, :, sink_size:], case.latents[:, :, sink_size:]) > 0.1


@pytest.mark.parametrize(("block_size", "kv_max_frames"), [(1, 4), (2, 11), (3, 2), (3, 1), (4, 5), (20, 11)])
def test_every_window_equals_diffusers(refiner_case: Any, block_size: int, kv_max_frames: int) -> None:
    case = refiner_case(10)
    options = {"sink_size": 1, "block_size": block_size, "kv_max_frames": kv_max_frames}
    assert largest_difference(autoregressive(case, **options), case.diffusers_refine(**options)) <= TOLERANCE


def test_a_prompt_without_padding_needs_no_mask(refiner_case: Any) -> None:
    case = refiner_case(5, masked_tokens=0)
    assert largest_difference(autoregressive(case), case.diffusers_refine()) <= TOLERANCE


def test_gated_attention_equals_diffusers(case_of: Any) -> None:
    import torch
    from diffusers import SanaWMLTX2RefinerTransformer3DModel

    torch.manual_seed(0)
    sizes = {"num_attention_heads": 2, "attention_head_dim": 16, "cross_attention_dim": 32, "caption_channels": 20}
    audio = {"audio_num_attention_heads": 2, "audio_attention_head_dim": 8, "audio_cross_attention_dim": 16}
    transformer = SanaWMLTX2RefinerTransformer3DModel(
        in_channels=8, out_channels=8, num_layers=2, gated_attn=True, **sizes, **audio
    ).eval()
    mask = torch.ones(1, 10, dtype=torch.int64)
    case = case_of(transformer, torch.randn(1, 8, 5, 2, 3), torch.randn(1, 10, 20), mask)
    assert largest_difference(autoregressive(case), case.diffusers_refine()) <= TOLERANCE


@pytest.fixture(scope="session", params=["a", "b"])
def golden_case(request: pytest.FixtureRequest, golden: Path) -> Any:
    from safetensors.torch import load_file

    tensors = load_file(golden / "refiner_tiny_split_io.safetensors")
    prefix = f"{request.param}."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@pytest.mark.parametrize("kv_max_frames", [11, 5])
def test_autoregressive_equals_golden_data(
    golden_transformer: Any, golden_case: Any, case_of: Any, kv_max_frames: int
) -> None:
    case = case_of(golden_transformer, golden_case["z"], golden_case["prompt_embeds"], golden_case["prompt_mask"])
    ours = autoregressive(case, sink_size=int(golden_case["sink_size"]), kv_max_frames=kv_max_frames)
    assert largest_difference(ours, golden_case[f"out_ar_block3_kv{kv_max_frames}_seed42_diffusers"]) <= TOLERANCE


def test_single_shot_equals_pr379(golden_transformer: Any, golden_case: Any) -> None:
    import torch

    from sana_wm.models.refiner.refine import refine_single_shot
    from sana_wm.models.refiner.transformer import RefinerEngine

    ours = refine_single_shot(
        RefinerEngine(golden_transformer),
        golden_case["z"],
        golden_case["prompt_embeds"],
        golden_case["prompt_mask"],
        fps=16.0,
        sink_size=int(golden_case["sink_size"]),
        generator=torch.Generator("cpu").manual_seed(42),
    )
    assert largest_difference(ours, golden_case["out_single_shot_pr379"]) <= TOLERANCE


def test_one_prediction_equals_pr379(golden_transformer: Any, golden_case: Any) -> None:
    from sana_wm.models.refiner.transformer import RefinerEngine

    z, sink_size = golden_case["z"], int(golden_case["sink_size"])
    shape, sigma = tuple(z.shape), 0.725
    engine = RefinerEngine(golden_transformer)
    engine.set_prompt(golden_case["prompt_embeds"], golden_case["prompt_mask"])
    window = engine.new_window(shape, sink_size, 0, shape[2] - sink_size)
    sink_table = engine.rotary_table(range(sink_size), shape, 16.0)
    table = engine.rotary_table(range(sink_size, shape[2]), shape, 16.0)
    engine.capture_sink(z[:, :, :sink_size], sink_table, window)
    current = z[:, :, sink_size:]
    clean = current - sigma * engine.predict_velocity(current, sigma, table, sink_table, window)
    assert largest_difference(clean.flatten(2).transpose(1, 2), golden_case["x0_sigma0.725"]) <= TOLERANCE


def test_rotary_tables_equal_golden_data(golden: Path, golden_transformer: Any) -> None:
    import torch
    from safetensors.torch import load_file

    from sana_wm.models.refiner.rope import build_rotary_table

    tensors = load_file(golden / "refiner_tiny_split_io.safetensors")
    table = build_rotary_table(golden_transformer, range(3), 2, 3, 16.0, torch.device("cpu"))
    assert largest_difference(table.cos.transpose(1, 2), tensors["rope.cos_f3_h2_w3_fps16"]) <= 1e-6
    assert largest_difference(table.sin.transpose(1, 2), tensors["rope.sin_f3_h2_w3_fps16"]) <= 1e-6


def test_large_token_counts_go_through_the_feed_forward_in_parts(
    refiner_case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sana_wm.models.refiner import transformer

    case = refiner_case(6)
    whole = autoregressive(case)
    monkeypatch.setattr(transformer, "FEED_FORWARD_TOKENS", 5)
    assert largest_difference(autoregressive(case), whole) <= TOLERANCE


def test_latents_without_frames_to_refine_are_refused(refiner_case: Any) -> None:
    with pytest.raises(ValueError, match="3 frames have none to refine after a sink of 3"):
        autoregressive(refiner_case(3), sink_size=3)
