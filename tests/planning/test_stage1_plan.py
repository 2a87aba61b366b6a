from __future__ import annotations

import dataclasses

import pytest

from sana_wm.errors import MemoryCapError
from sana_wm.planning.stage1 import StepShape, choose_plan
from sana_wm.sizes import GIB

FULL = StepShape(
    frames=41,
    spatial=880,
    batch=2,
    channels=2240,
    heads=20,
    widening=6,
    element_bytes=2,
    attention_element_bytes=2,
    attention_head_dim=112,
    attention_copies=3,
    conditioning_bytes=200_000_000,
)
LONG = dataclasses.replace(FULL, frames=121, conditioning_bytes=400_000_000)
ON_MPS = dataclasses.replace(FULL, attention_head_dim=128)


def test_without_a_budget_both_branches_go_together():
    plan = choose_plan(FULL, None)
    assert plan.guidance_passes == 1
    assert plan.attention_frames == 21


@pytest.mark.parametrize("shape", [FULL, LONG, ON_MPS])
def test_less_memory_means_smaller_chunks_and_then_two_passes(shape):
    plans = [choose_plan(shape, budget) for budget in (64 * GIB, 5.5 * GIB, 4.9 * GIB)]
    assert [plan.working_set_bytes for plan in plans] == sorted((p.working_set_bytes for p in plans), reverse=True)
    assert plans[0] == choose_plan(shape, None)
    assert all(plan.working_set_bytes <= budget for plan, budget in zip(plans[1:], (5.5 * GIB, 4.9 * GIB), strict=True))
    assert plans[0].guidance_passes <= plans[1].guidance_passes <= plans[2].guidance_passes


def test_a_long_run_fits_the_budget_of_a_short_one_by_splitting_guidance():
    assert choose_plan(LONG, 5 * GIB).guidance_passes == 2


def test_321_frames_fit_in_11_gib_on_mps_with_the_weights():
    assert choose_plan(ON_MPS, None).working_set_bytes + 5_323_600_896 <= 11 * GIB


def test_an_impossible_budget_is_refused_with_what_would_do():
    with pytest.raises(
        MemoryCapError, match=r"got 0\.50 GiB beside its weights; expected at least 1\.69 GiB for 41 latent frames"
    ):
        choose_plan(FULL, GIB // 2)


def test_a_plan_is_plain_data_for_receipts():
    plan = choose_plan(FULL, None)
    assert plan.as_json() == {
        "guidance_passes": 1,
        "attention_frames": 21,
        "feed_forward_frames": 18,
        "working_set_bytes": plan.working_set_bytes,
    }
