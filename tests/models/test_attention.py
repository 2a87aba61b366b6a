from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from sana_wm.models.attention import (
    MAX_KEY_BLOCK,
    AttentionBudget,
    attention,
    blockwise_attention,
    plan_block,
)
from sana_wm.planning.kernels import MPS_DISPATCH_FLOP, MPS_FLASH_HEAD_DIMS, KernelRules, kernel_rules

ONE_BLOCK = AttentionBudget()
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
NO_KERNEL = KernelRules(head_dims=())
MPS = kernel_rules("mps", "2.14.1")
MPS_2_13 = kernel_rules("mps", "2.13.0")


class LargestTensor(TorchDispatchMode):
    """Remembers the largest tensor that any operation made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple) else (out,):
            if isinstance(x, torch.Tensor) and not func.is_view:
                self.elements = max(self.elements, x.numel())
        return out


def make_operands(head_dim, dtype, *, queries=70, keys=90, batch=2, heads=3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(length):
        return torch.randn((batch, heads, length, head_dim), generator=generator).to(dtype)

    return draw(queries), draw(keys), draw(keys)


def make_mask(kind, dtype, *, queries=70, keys=90, seed=1):
    if kind == "none":
        return None
    allowed = torch.rand((2, 1, queries, keys), generator=torch.Generator().manual_seed(seed)) > 0.3
    allowed[1, :, 5:6] = False  # one row that sees no key at all
    if kind == "bool":
        return allowed
    return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, float("-inf"))


def reference(q, k, v, mask, scale=None):
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = q.double() @ k.double().transpose(-1, -2) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask.double()
    return scores.softmax(-1).nan_to_num(0.0) @ v.double()


def relative_error(out, expected):
    return float((out.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("head_dim", [64, 112, 128])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mask_kind", ["none", "bool", "additive"])
@pytest.mark.parametrize(
    ("budget", "rules"),
    [
        pytest.param(ONE_BLOCK, None, id="fused"),
        pytest.param(ONE_BLOCK, MPS, id="padded_as_on_mps"),
        pytest.param(ONE_BLOCK, NO_KERNEL, id="one_block"),
        pytest.param(AttentionBudget(max_score_elements=3 * 70 * 90 // 2), NO_KERNEL, id="heads_split"),
        pytest.param(AttentionBudget(max_score_elements=90 * 11), NO_KERNEL, id="queries_split"),
        pytest.param(AttentionBudget(max_score_bytes=4 * 17), NO_KERNEL, id="keys_split"),
    ],
)
def test_every_path_is_as_exact_as_torchs_own_attention(head_dim, dtype, mask_kind, budget, rules):
    q, k, v = make_operands(head_dim, dtype)
    mask = make_mask(mask_kind, dtype)
    expected = reference(q, k, v, mask)

    out = attention(q, k, v, mask=mask, budget=budget, rules=rules)

    torch_error = relative_error(F.scaled_dot_product_attention(q, k, v, attn_mask=mask), expected)
    assert out.dtype == dtype
    assert out.shape == q.shape
    assert relative_error(out, expected) <= 1.05 * torch_error + 1e-7


@settings(max_examples=40, deadline=None)
@given(
    queries=st.integers(1, 40),
    keys=st.integers(1, 40),
    elements=st.integers(1, 4000),
    mask_kind=st.sampled_from(["none", "bool", "additive"]),
)
def test_any_block_sizes_give_the_same_answer(queries, keys, elements, mask_kind):
    q, k, v = make_operands(16, torch.float32, queries=queries, keys=keys)
    mask = make_mask(mask_kind, torch.float32, queries=queries, keys=keys)
    budget = AttentionBudget(max_score_elements=elements)

    out = blockwise_attention(q, k, v, mask=mask, scale=0.25, budget=budget)

    torch.testing.assert_close(out.double(), reference(q, k, v, mask, 0.25), rtol=1e-5, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    heads=st.integers(1, 40),
    queries=st.integers(1, 200_000),
    keys=st.integers(1, 200_000),
    elements=st.integers(1, 2**31),
)
def test_a_planned_block_fits_the_budget_and_the_key_limit(heads, queries, keys, elements):
    block = plan_block(heads, queries, keys, AttentionBudget(elements, 2**40))
    assert min(block) >= 1
    assert block.heads * block.queries * block.keys <= elements
    assert block.keys <= min(keys, MAX_KEY_BLOCK) < 32767


@pytest.mark.parametrize("mask_kind", ["none", "bool", "additive"])
def test_no_block_of_scores_grows_past_the_budget(mask_kind):
    queries = keys = 300
    q, k, v = make_operands(8, torch.float32, queries=queries, keys=keys)
    mask = make_mask(mask_kind, torch.float32, queries=queries, keys=keys)
    budget = AttentionBudget(max_score_elements=20_000, max_score_bytes=4 * 15_000)
    with LargestTensor() as largest:
        attention(q, k, v, mask=mask, budget=budget, rules=NO_KERNEL)
    assert queries * keys > 15_000 >= largest.elements


def test_a_mask_that_leaves_the_fused_kernel_is_computed_in_blocks():
    q, k, v = make_operands(64, torch.bfloat16)
    mask = make_mask("additive", torch.float32)
    with LargestTensor() as largest:
        out = attention(q, k, v, mask=mask, budget=AttentionBudget(max_score_elements=1000))
    assert largest.elements <= q.numel() * 2
    assert relative_error(out, reference(q, k, v, mask)) < 4e-3


def test_rows_that_see_no_key_give_zero_on_every_path():
    q, k, v = make_operands(64, torch.float32)
    mask = make_mask("bool", torch.float32)
    for rules in (None, MPS, MPS_2_13, NO_KERNEL):
        out = attention(q, k, v, mask=mask, rules=rules)
        assert torch.equal(out[1, :, 5], torch.zeros_like(out[1, :, 5]))


@pytest.mark.parametrize("rules", [None, MPS, MPS_2_13, NO_KERNEL], ids=["fused", "mps", "mps_2_13", "blocks"])
def test_a_given_scale_replaces_that_of_the_head_dim(rules):
    q, k, v = make_operands(112, torch.float32)
    out = attention(q, k, v, scale=128**-0.5, rules=rules)
    assert relative_error(out, reference(q, k, v, None, 128**-0.5)) < 1e-6


def test_only_torch_2_13_on_mps_folds_the_scale():
    assert kernel_rules("cuda", "2.13.0") == kernel_rules("cpu", "2.13.0") == KernelRules()
    rules = KernelRules(MPS_FLASH_HEAD_DIMS, fold_scale=True, dispatch_flop=MPS_DISPATCH_FLOP)
    assert kernel_rules("mps", "2.13.0") == rules
    for version in ("2.14.1", "2.15.0", "3.0.0a0+git1234"):
        assert kernel_rules("mps", version) == dataclasses.replace(rules, fold_scale=False)


class Calls(TorchFunctionMode):
    """Remembers the arithmetic of every call of the fused kernel."""

    def __init__(self):
        super().__init__()
        self.flop = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention:
            query, key, _ = args
            self.flop.append(4 * query.numel() * key.shape[2])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mask_kind", ["none", "bool", "additive"])
def test_no_call_of_the_kernel_is_more_than_a_device_may_work_on_without_a_break(mask_kind):
    sizes = {"queries": 700, "keys": 90}
    q, k, v = make_operands(112, torch.float32, **sizes)
    mask = make_mask(mask_kind, torch.float32, **sizes)
    limit = 4 * 6 * 300 * 90 * 128  # of 300 rows: two tiles of 128 fit
    with Calls() as calls:
        out = attention(q, k, v, mask=mask, rules=dataclasses.replace(MPS, dispatch_flop=limit))
    assert len(calls.flop) == 3
    assert max(calls.flop) <= limit
    whole = attention(q, k, v, mask=mask, rules=dataclasses.replace(MPS, dispatch_flop=None))
    torch.testing.assert_close(out, whole, rtol=0, atol=1e-6)


def test_a_minute_of_video_is_cut_into_parts_of_a_second_on_mps():
    tokens, heads, head_dim = 121 * 880, 20, 128
    rows = MPS.query_rows(heads, tokens, tokens, head_dim)
    assert 0.9e12 < 4 * heads * rows * tokens * head_dim <= 1e12
    assert kernel_rules("cuda", "2.14.1").query_rows(heads, tokens, tokens, head_dim) == tokens


def emulated_2_13_kernel(q, k, v, attn_mask=None, scale=1.0):
    """What the Metal kernel of torch 2.13 computes: `scale * log2(e)` and the scaled query rounded to the dtype."""
    factor = torch.tensor(scale * 1.4426950408889634).to(q.dtype)
    scores = (q * factor).double() @ k.double().transpose(-1, -2)
    return (torch.softmax(scores * 0.6931471805599453, -1) @ v.double()).to(v.dtype)


def test_folding_the_scale_undoes_the_rounding_of_the_2_13_kernel(monkeypatch):
    q, k, v = (8 * x for x in make_operands(112, torch.float32, seed=3))
    k, v = k.bfloat16(), v.bfloat16()
    expected = reference(q, k, v, None)
    monkeypatch.setattr(F, "scaled_dot_product_attention", emulated_2_13_kernel)

    folded = relative_error(attention(q, k, v, rules=MPS_2_13), expected)
    plain = relative_error(attention(q, k, v, rules=dataclasses.replace(MPS_2_13, fold_scale=False)), expected)

    assert folded < plain


@pytest.mark.parametrize(("head_dim", "padded"), [(24, 32), (64, 64), (112, 128), (130, 256), (300, None)])
def test_a_head_dim_is_padded_to_the_next_kernel_of_mps(head_dim, padded):
    assert MPS.kernel_head_dim(head_dim) == padded


def test_operands_that_do_not_fit_are_refused():
    q, k, v = make_operands(8, torch.float32)
    with pytest.raises(ValueError, match="do not fit"):
        attention(q, k, v[:, :, 1:])
    with pytest.raises(ValueError, match=r"\(B, H, L, D\)"):
        attention(q[0], k, v)
