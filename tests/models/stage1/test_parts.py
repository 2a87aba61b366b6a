from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_sana_wm import (
    GLUMBConvTemp,
    SanaWMTemporalShortConvolution,
    SanaWMTransformer3DModel,
)

from sana_wm.bench.measure import report, write_json
from sana_wm.bench.random_stage1 import build_inputs, build_transformer
from sana_wm.bench.stage1 import Ceilings, measure_engine, measure_stock
from sana_wm.models.stage1.feed_forward import spatial_feed_forward, temporal_feed_forward, temporal_weight
from sana_wm.models.stage1.positions import RayTransforms, Rotation, from_rays, rotate, to_rays
from sana_wm.models.stage1.sampler import build_schedule, euler_step
from sana_wm.models.stage1.self_attention import zero_framed
from sana_wm.models.stage1.short_convolution import convolve_frames, reach_of
from sana_wm.planning.stage1 import step_tflop


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("frames", [1, 2, 5])
@torch.no_grad()
def test_the_short_convolution_is_stocks_for_any_cut(frames):
    convolution = SanaWMTemporalShortConvolution(6, 4)
    convolution.weight.normal_(generator=torch.Generator().manual_seed(1))
    x = randn(frames, 2, 3, 6)
    padded = zero_framed(frames, reach_of(convolution), x)
    padded[3 : 3 + frames] = x
    expected = convolution(x.transpose(0, 1).reshape(2, frames * 3, 6), frames)
    expected = expected.reshape(2, frames, 3, 6).transpose(0, 1)
    for start in range(frames):
        cut = slice(start, frames)
        torch.testing.assert_close(convolve_frames(padded, convolution, cut), expected[cut])


@torch.no_grad()
def test_the_feed_forward_is_stocks():
    mlp = GLUMBConvTemp(6, 18, use_bias=(True, True, False))
    x, (frames, height, width) = randn(3, 2, 20, 6), (3, 4, 5)
    result = zero_framed(frames, 1, x)
    spatial_feed_forward(x.flatten(0, 1), mlp, height, width, result[1:4].flatten(0, 1))
    out = torch.cat([temporal_feed_forward(result, temporal_weight(mlp), cut) for cut in (slice(0, 2), slice(2, 3))])
    expected = mlp(x.transpose(0, 1).reshape(2, 60, 6), (frames, height, width))
    torch.testing.assert_close(out, expected.reshape(2, 3, 20, 6).transpose(0, 1), rtol=1e-5, atol=1e-6)


def test_rotation_is_complex_multiplication_with_planar_output():
    x, angle = randn(2, 1, 3, 2, 8), randn(2, 1, 3, 1, 4, seed=1)
    out = torch.empty_like(x)
    rotate(x, Rotation(angle.cos(), angle.sin()), out)
    expected = torch.view_as_complex(x.unflatten(-1, (4, 2))) * torch.polar(torch.ones_like(angle), angle)
    torch.testing.assert_close(out, torch.cat([expected.real, expected.imag], -1))


def test_going_to_ray_space_and_back_in_place_changes_nothing():
    x, angle, matrix = randn(2, 1, 3, 2, 16), randn(2, 1, 3, 1, 4, seed=1), randn(2, 1, 3, 1, 1, 4, 4, seed=2)
    rotation = Rotation(angle.cos(), angle.sin())
    rays = RayTransforms(matrix, matrix, matrix.inverse(), rotation)
    there = torch.empty_like(x)
    to_rays(x, rays.key_value, rotation, there)
    from_rays(there, rays.output, rotation, there)
    torch.testing.assert_close(there, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [4, 20, 60])
def test_the_schedule_is_that_of_the_golden_data(golden, steps):
    data = np.load(golden / "sampler.npz")
    schedule = build_schedule(steps, 9.8)
    names = [name for name in data.files if name.startswith("sigmas_") and len(data[name]) == steps + 1]
    assert any(np.allclose(schedule.sigmas, data[name], atol=1e-6) for name in names)
    assert schedule.num_inference_steps == steps
    assert schedule.sigmas[-1] == 0


def toy_velocity(x, timestep, text):
    """The toy model of golden/README.md."""
    times = torch.full((x.shape[2],), timestep)
    times[0] = 0
    s = text.float().mean()
    return (
        torch.tanh(1.3 * x + 0.5 * x.mean(dim=2, keepdim=True).roll(1, 1) + s)
        * (0.3 + times.view(1, 1, -1, 1, 1) / 1000)
        - 0.2 * x * s
    )


@pytest.mark.parametrize("steps", [4, 20, 60])
def test_euler_steps_of_a_toy_model_end_in_the_golden_latents(golden, steps):
    data = np.load(golden / "sampler.npz")
    latents, text, negative = (torch.from_numpy(data[f"toy_{name}"]).float() for name in ("z", "cond", "neg"))
    schedule = build_schedule(steps, 9.8)
    for step, timestep in enumerate(schedule.timesteps):
        positive_velocity, negative_velocity = (toy_velocity(latents, timestep, y) for y in (text, negative))
        velocity = negative_velocity + 5 * (positive_velocity - negative_velocity)
        latents = euler_step(latents, velocity, schedule, step)
    torch.testing.assert_close(latents, torch.from_numpy(data[f"toy_out_steps{steps}_fp32"]), rtol=1e-5, atol=1e-5)


def test_a_benchmark_measures_both_engines_and_writes_its_file(tmp_path):
    config = {
        "in_channels": 8,
        "num_layers": 4,
        "hidden_size": 48,
        "num_attention_heads": 2,
        "linear_head_dim": 24,
        "caption_channels": 16,
        "chunk_plucker_post_attn_blocks": 4,
    }
    device = torch.device("cpu")
    transformer = build_transformer(config, device, torch.float32)
    inputs = build_inputs(transformer, (3, 4, 5))
    ceilings = Ceilings(matmul_tflops=1.0, copy_gb_s=1.0)
    rows = [
        measure_stock(transformer, inputs, ceilings, 1),
        measure_engine(transformer, inputs, ceilings, 1, 1.0, "pr379"),
    ]
    write_json(tmp_path / "new" / "bench.json", report("stage1", device, {"rows": rows}))
    written = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert [row["engine"] for row in written["rows"]] == ["diffusers", "sana_wm"]
    assert all(row["seconds"] > 0 and row["latent_frames"] == 3 for row in written["rows"])
    assert written["rows"][1]["plan"]["guidance_passes"] == 1
    assert set(written) >= {"what", "date", "hardware", "command", "versions"}


def test_the_arithmetic_of_a_full_step_is_counted():
    with torch.device("meta"):
        transformer = SanaWMTransformer3DModel()
    assert step_tflop(transformer.config, (41, 22, 40), passes=2) == pytest.approx(585, abs=1)
