from __future__ import annotations

import contextlib
import dataclasses

import diffusers.models.transformers.transformer_sana_wm as upstream
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from sana_wm.bench.random_stage1 import build_inputs, build_transformer
from sana_wm.bench.stage1 import ExactSoftmax
from sana_wm.errors import MemoryCapError, WeightsError
from sana_wm.models.stage1.engine import Stage1Engine
from sana_wm.models.stage1.sampler import build_schedule, euler_step

CASES = [("a", 0), ("a", 1), ("b", 0), ("rot", 0)]
GRID = (4, 5, 6)
# Head dim 112 as released, 2 heads, one softmax block of four.
MID = {
    "in_channels": 8,
    "num_layers": 4,
    "hidden_size": 224,
    "num_attention_heads": 2,
    "caption_channels": 32,
    "chunk_plucker_post_attn_blocks": 4,
}


@pytest.fixture(scope="module")
def mid():
    transformer = build_transformer(MID, torch.device("cpu"), torch.float32)
    return transformer, build_inputs(transformer, GRID)


def camera_tensors(raymap: torch.Tensor, chunk_plucker: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the camera part hands over, from a raymap (T, 20) and plucker rays (48, T, h, w)."""
    raymats, _ = upstream._process_camera_conditions_ucpe(raymap[None], 1, tuple(chunk_plucker.shape[1:]), (1, 1, 1))
    P = raymats.reshape(-1, 4, 4)
    return {"raymap": raymap, "chunk_plucker": chunk_plucker, "P": P, "P_inv": upstream._invert_SE3(P)}


def relative_error(out: torch.Tensor, expected: torch.Tensor) -> float:
    return float((out.double() - expected.double()).norm() / expected.double().norm())


@contextlib.contextmanager
def stock_without_rescale():
    """Within it, stock camera attention leaves queries, keys and values as the camera transform made them."""
    original = upstream._downscale_to_reference_rms
    upstream._downscale_to_reference_rms = lambda reference, transformed, eps=1e-6: transformed
    try:
        yield
    finally:
        upstream._downscale_to_reference_rms = original


@torch.no_grad()
def stock_velocities(transformer, inputs, timestep, latents=None):
    """Both velocities of the stock network, negative prompt first."""
    latents = inputs.latents if latents is None else latents
    frame_timesteps = torch.full((2, 1, latents.shape[2]), timestep)
    frame_timesteps[:, :, 0] = 0
    return transformer(
        latents.repeat(2, 1, 1, 1, 1),
        frame_timesteps,
        inputs.prompt_embeds,
        encoder_attention_mask=inputs.prompt_attention_mask,
        camera_conditions=inputs.camera["raymap"].repeat(2, 1, 1),
        chunk_plucker=inputs.camera["chunk_plucker"].repeat(2, 1, 1, 1, 1),
        return_dict=False,
    )[0]


def prepare(engine, inputs):
    return engine.prepare(inputs.prompt_embeds, inputs.prompt_attention_mask, inputs.camera)


def exact_engine(transformer, camera_rescale, **options):
    return Stage1Engine(transformer, camera_rescale=camera_rescale, attention_dtype=torch.float32, **options)


@pytest.mark.parametrize(("case", "item"), CASES)
@pytest.mark.parametrize(("camera_rescale", "name"), [("pr379", "out_pr379"), ("diffusers", "out_renorm")])
@pytest.mark.parametrize(
    ("attention_dtype", "suffix", "tolerance"),
    [(torch.float32, "_fp32sdpa", 1e-5), (torch.bfloat16, "", 2e-3)],
    ids=["exact", "shipped"],
)
def test_velocities_are_those_of_the_golden_data(
    tiny, golden, case, item, camera_rescale, name, attention_dtype, suffix, tolerance
):
    data = {
        key.removeprefix(f"{case}."): value[item : item + 1]
        for key, value in load_file(golden / "dit_tiny_io.safetensors").items()
        if key.startswith(f"{case}.")
    }
    engine = Stage1Engine(tiny, camera_rescale=camera_rescale, attention_dtype=attention_dtype)
    camera = camera_tensors(data["camera_conditions"][0], data["chunk_plucker"][0])
    conditioning = engine.prepare(data["encoder_hidden_states"], data["encoder_attention_mask"], camera)

    out = engine.predict(data["hidden_states"], data["timestep"][0, 0].floor(), conditioning, (0,))

    assert relative_error(out, data[name + suffix]) <= tolerance


@pytest.mark.parametrize(
    ("camera_rescale", "reference"), [("diffusers", contextlib.nullcontext), ("none", stock_without_rescale)]
)
def test_mid_size_velocities_are_those_of_stock_diffusers(mid, camera_rescale, reference):
    transformer, inputs = mid
    with reference(), ExactSoftmax():
        negative, positive = stock_velocities(transformer, inputs, 700.0).split(1)
    engine = exact_engine(transformer, camera_rescale)
    out = engine.velocity(inputs.latents, 700.9, prepare(engine, inputs), 5.0)
    assert relative_error(out, negative + 5 * (positive - negative)) <= 1e-5


def test_the_three_rescale_versions_differ(mid):
    transformer, inputs = mid
    outs = []
    for camera_rescale in ("pr379", "diffusers", "none"):
        engine = exact_engine(transformer, camera_rescale)
        outs.append(engine.velocity(inputs.latents, 700.0, prepare(engine, inputs), 1.0))
    assert relative_error(outs[0], outs[1]) > 1e-4
    assert relative_error(outs[0], outs[2]) > 1e-4


@pytest.mark.parametrize(("working_set_bytes", "passes"), [(20_000_000, 1), (10_500_000, 2)])
def test_a_budget_changes_the_plan_and_not_the_velocity(mid, working_set_bytes, passes):
    transformer, inputs = mid
    free = exact_engine(transformer, "pr379")
    expected = free.velocity(inputs.latents, 300.0, prepare(free, inputs), 4.0)
    engine = exact_engine(transformer, "pr379", working_set_bytes=working_set_bytes)
    conditioning = prepare(engine, inputs)

    assert conditioning.plan.working_set_bytes <= working_set_bytes
    assert conditioning.plan.guidance_passes == passes
    assert engine.plan == conditioning.plan
    assert relative_error(engine.velocity(inputs.latents, 300.0, conditioning, 4.0), expected) <= 2e-6


def test_a_budget_below_the_leanest_plan_is_refused(mid):
    transformer, inputs = mid
    with pytest.raises(MemoryCapError, match="working-set budget"):
        prepare(exact_engine(transformer, "pr379", working_set_bytes=1_000_000), inputs)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(passes=st.sampled_from([1, 2]), attention_frames=st.integers(1, 5), feed_forward_frames=st.integers(1, 5))
def test_any_chunks_and_passes_give_the_same_velocity(tiny_run, passes, attention_frames, feed_forward_frames):
    engine, conditioning, latents, expected = tiny_run
    plan = dataclasses.replace(
        conditioning.plan,
        guidance_passes=passes,
        attention_frames=attention_frames,
        feed_forward_frames=feed_forward_frames,
    )
    out = engine.velocity(latents, 500.0, dataclasses.replace(conditioning, plan=plan), 5.0)
    assert relative_error(out, expected) <= 2e-6


@pytest.fixture(scope="module")
def tiny_run(tiny, golden):
    data = load_file(golden / "stage1_sampling_tiny.safetensors")
    engine = exact_engine(tiny, "pr379")
    conditioning = engine.prepare(
        torch.cat([data["neg"], data["cond"]]),
        torch.cat([data["neg_mask"], data["cond_mask"]]),
        camera_tensors(data["camera_conditions"][0], data["chunk_plucker"][0]),
    )
    return engine, conditioning, data["z"], engine.velocity(data["z"], 500.0, conditioning, 5.0)


@pytest.mark.parametrize(
    ("name", "camera_rescale", "guidance_scale", "attention_dtype", "tolerance"),
    [
        ("out_pr379_cfg5_fp32sdpa", "pr379", 5.0, torch.float32, 1e-5),
        ("out_renorm_cfg5_fp32sdpa", "diffusers", 5.0, torch.float32, 1e-5),
        ("out_pr379_cfg5", "pr379", 5.0, torch.bfloat16, 1e-2),
        ("out_pr379_cfg1", "pr379", 1.0, torch.bfloat16, 1e-2),
    ],
)
def test_a_whole_run_ends_in_the_golden_latents(
    tiny, golden, name, camera_rescale, guidance_scale, attention_dtype, tolerance
):
    data = load_file(golden / "stage1_sampling_tiny.safetensors")
    engine = Stage1Engine(tiny, camera_rescale=camera_rescale, attention_dtype=attention_dtype)
    conditioning = engine.prepare(
        torch.cat([data["neg"], data["cond"]]),
        torch.cat([data["neg_mask"], data["cond_mask"]]),
        camera_tensors(data["camera_conditions"][0], data["chunk_plucker"][0]),
    )
    latents, schedule = data["z"], build_schedule(4, 9.8)
    for step, timestep in enumerate(schedule.timesteps):
        velocity = engine.velocity(latents, timestep, conditioning, guidance_scale)
        latents = euler_step(latents, velocity, schedule, step)
    assert torch.equal(latents[:, :, 0], data["z"][:, :, 0])
    assert relative_error(latents, data[name]) <= tolerance


def test_after_60_steps_the_latents_still_agree_with_stock(tiny, golden):
    data = load_file(golden / "stage1_sampling_tiny.safetensors")
    inputs = build_inputs(tiny, tuple(data["z"].shape[2:]))
    engine = exact_engine(tiny, "diffusers")
    conditioning = prepare(engine, inputs)
    schedule = build_schedule(60, 9.8)
    ours = stock = data["z"]
    for step, timestep in enumerate(schedule.timesteps):
        ours = euler_step(ours, engine.velocity(ours, timestep, conditioning, 5.0), schedule, step)
        with ExactSoftmax():
            negative, positive = stock_velocities(tiny, inputs, timestep, stock).split(1)
        stock = euler_step(stock, negative + 5 * (positive - negative), schedule, step)
    assert relative_error(ours, data["z"]) > 0.1
    assert relative_error(ours, stock) <= 1e-4


def test_the_loaded_transformer_stays_as_it_was(mid):
    transformer, inputs = mid
    before = {name: value.clone() for name, value in transformer.state_dict().items()}
    expected = stock_velocities(transformer, inputs, 700.0)
    latents = inputs.latents.clone()
    engine = exact_engine(transformer, "pr379")
    engine.velocity(inputs.latents, 700.0, prepare(engine, inputs), 5.0)
    assert torch.equal(inputs.latents, latents)
    assert all(torch.equal(before[name], value) for name, value in transformer.state_dict().items())
    assert torch.equal(stock_velocities(transformer, inputs, 700.0), expected)


def test_without_guidance_the_negative_prompt_is_not_read(mid):
    transformer, inputs = mid
    engine = exact_engine(transformer, "pr379")
    both = prepare(engine, inputs)
    alone = engine.prepare(inputs.prompt_embeds[1:], inputs.prompt_attention_mask[1:], inputs.camera)
    out = engine.velocity(inputs.latents, 700.0, both, 1.0)
    assert relative_error(out, engine.velocity(inputs.latents, 700.0, alone, 1.0)) <= 1e-6
    with pytest.raises(ValueError, match="negative and a positive prompt"):
        engine.velocity(inputs.latents, 700.0, alone, 5.0)
    with pytest.raises(ValueError, match="latents are"):
        engine.velocity(inputs.latents[:, :, 1:], 700.0, both, 1.0)


def test_a_transformer_of_another_kind_is_refused():
    config = MID | {"num_layers": 1, "qk_norm": False}
    with pytest.raises(WeightsError, match="qk_norm"):
        Stage1Engine(build_transformer(config, torch.device("cpu"), torch.float32), camera_rescale="pr379")


def test_bfloat16_velocities_are_at_least_as_exact_as_stocks(mid):
    inputs = mid[1]
    transformer = build_transformer(MID, torch.device("cpu"), torch.bfloat16)
    rounded = build_transformer(MID, torch.device("cpu"), torch.bfloat16).float()
    with ExactSoftmax():
        expected = stock_velocities(rounded, inputs, 700.0)
    camera = {name: inputs.camera[name].bfloat16() for name in ("P", "P_inv")}
    with torch.no_grad():
        stock = transformer(
            inputs.latents.repeat(2, 1, 1, 1, 1).bfloat16(),
            torch.tensor([0.0] + [700.0] * 3).repeat(2, 1, 1),
            inputs.prompt_embeds.bfloat16(),
            encoder_attention_mask=inputs.prompt_attention_mask,
            camera_conditions=inputs.camera["raymap"].repeat(2, 1, 1).bfloat16(),
            chunk_plucker=inputs.camera["chunk_plucker"].repeat(2, 1, 1, 1, 1).bfloat16(),
            cam_pos_embeds=camera | {"absmap": torch.zeros((2, 3, *GRID), dtype=torch.bfloat16)},
            return_dict=False,
        )[0]
    engine = Stage1Engine(transformer, camera_rescale="diffusers")
    ours = engine.predict(inputs.latents, torch.tensor([0.0, 700.0, 700.0, 700.0]), prepare(engine, inputs), (0, 1))
    assert relative_error(ours, expected) <= 1.05 * relative_error(stock.float(), expected)
