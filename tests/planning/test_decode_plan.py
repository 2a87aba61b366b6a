from __future__ import annotations

import json

import pytest
import torch

from sana_wm.bench.decode import CONFIG
from sana_wm.errors import MemoryCapError
from sana_wm.planning.decode import (
    LADDER,
    complete_config,
    decode_tflop,
    forecast,
    plan_decode,
    reach_latent_frames,
)

GIB = 1024**3


@pytest.fixture(scope="module")
def released():
    """The released configuration, all fields."""
    from diffusers import AutoencoderKLLTX2Video

    with torch.device("meta"):
        return AutoencoderKLLTX2Video(**CONFIG).config


def test_the_released_decoder_reaches_22_latent_frames_to_each_side(released):
    assert reach_latent_frames(released) == 22


def test_the_released_weights_are_counted(released):
    plan = forecast(released, 22, 40, 2, (1, 1, 1, 1))
    assert plan.weights_bytes == 1_056_761_440  # as summed on the GPU, reports/bench/decode-h200.json


def test_a_larger_budget_takes_larger_steps_within_it(released):
    plans = [plan_decode(released, 22, 40, 2, int(gib * GIB)) for gib in (1.7, 2.0, 2.4, 3.0, 8.0)]
    assert [plan.steps for plan in plans] == [(1, 1, 1, 1), (1, 2, 4, 4), (4, 8, 8, 8), (4, 8, 16, 16), (8, 16, 16, 16)]
    for plan, gib in zip(plans, (1.7, 2.0, 2.4, 3.0, 8.0), strict=True):
        assert plan.predicted_bytes <= gib * GIB


def test_every_row_of_the_ladder_costs_more_than_the_one_before(released):
    costs = []
    for at_latents, most in LADDER:
        steps = tuple(min(most, at_latents * 2**level) for level in range(4))
        costs.append(forecast(released, 22, 40, 2, steps).predicted_bytes)
    assert costs == sorted(costs)


def test_a_budget_below_one_frame_at_a_time_names_the_least_that_would_do(released):
    with pytest.raises(MemoryCapError, match=r"at least 1\.69 GiB"):
        plan_decode(released, 22, 40, 2, GIB)


def test_a_plan_is_plain_json(released):
    plan = plan_decode(released, 22, 40, 2, 3 * GIB)
    assert json.loads(json.dumps(plan.as_json()))["steps"] == list(plan.steps)


def test_the_arithmetic_of_a_full_decode_is_counted(released):
    assert decode_tflop(released, (1, 128, 41, 22, 40)) == pytest.approx(363.6, abs=0.1)


def test_a_config_may_leave_out_what_the_class_fills_in(released):
    bare = {"decoder_causal": False}
    assert forecast(complete_config(bare), 22, 40, 2, (1, 1, 1, 1)) == forecast(released, 22, 40, 2, (1, 1, 1, 1))
