"""Every rule fires on a minimal op and stays quiet on its nearest harmless neighbour, in its releases only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mps_check.rule import Rule
from mps_check.rules import RULES, rules_for

HALF = torch.bfloat16
FULL = torch.float32
RELEASES = ("2.13.0", "2.14.1", "2.15.0")


def on_mps(*shape: int, dtype: torch.dtype = HALF) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="mps")


def on_cpu(*shape: int, dtype: torch.dtype = HALF) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="cpu")


def attend(queries: int, head_dim: int, keys: int | None = None, mask: Tensor | None = None) -> Tensor:
    query = on_mps(1, 1, queries, head_dim)
    key = on_mps(1, 1, keys or queries, head_dim)
    return F.scaled_dot_product_attention(query, key, key, attn_mask=mask)


def put_by_mask(dtype: torch.dtype) -> None:
    index = on_mps(4, dtype=dtype)
    on_mps(4, 3)[index] = on_mps(3)


def conv2d(x: Tensor, width: int = 3) -> Tensor:
    return F.conv2d(x, on_mps(8, x.shape[1], 3, width))


def conv3d(kernel: int) -> Tensor:
    return F.conv3d(on_mps(1, 4, 5, 5, 5), on_mps(4, 4, kernel, kernel, kernel))


@dataclass(frozen=True)
class Case:
    fires: Callable[[], object]
    quiet: Callable[[], object]


ROWS = 2**31 // 1024

CASES: dict[str, Case] = {
    "float64-on-device": Case(
        lambda: on_cpu(2, dtype=torch.float64).to("mps"),
        # One call casts on the host first.
        lambda: on_cpu(2, dtype=torch.float64).to("mps", FULL),
    ),
    "complex-on-device": Case(
        lambda: torch.view_as_complex(on_mps(4, 2, dtype=FULL)),
        lambda: torch.view_as_complex(on_cpu(4, 2, dtype=FULL)),
    ),
    "float8-on-device": Case(lambda: on_mps(2).to(torch.float8_e4m3fn), lambda: on_mps(2).to(torch.int8)),
    "too-many-dims": Case(lambda: on_mps(*[1] * 17).neg(), lambda: on_mps(*[1] * 16).neg()),
    "dim-over-int-max": Case(lambda: on_mps(2**31, dtype=torch.int8).neg(), lambda: on_mps(2**31 - 1).neg()),
    "write-over-2-31-elements": Case(
        lambda: on_mps(ROWS, 1024, dtype=torch.int8).neg(), lambda: on_mps(ROWS, 1023, dtype=torch.int8).neg()
    ),
    "tensor-over-4-gib": Case(
        lambda: on_mps(ROWS // 2, 1024, dtype=FULL).neg(), lambda: on_mps(ROWS // 2, 1023, dtype=FULL).neg()
    ),
    "int64-power": Case(lambda: on_mps(2, dtype=torch.int64) ** 3, lambda: on_mps(2, dtype=FULL) ** 3),
    "linear-large-k": Case(
        lambda: F.linear(on_mps(16, 32767), on_mps(16, 32767)), lambda: F.linear(on_mps(16, 32766), on_mps(16, 32766))
    ),
    "linear-k-at-threshold": Case(
        lambda: on_mps(16, 32768) @ on_mps(32768, 16), lambda: on_mps(16, 32769) @ on_mps(32769, 16)
    ),
    "bmm-large-k": Case(
        lambda: on_mps(2, 16, 32767) @ on_mps(2, 32767, 16), lambda: on_mps(2, 15, 32767) @ on_mps(2, 32767, 16)
    ),
    "bmm-over-2-32-elements": Case(
        lambda: on_mps(5, 30000, 1) @ on_mps(5, 1, 30000), lambda: on_mps(4, 30000, 1) @ on_mps(4, 1, 30000)
    ),
    "matmul-output-over-2-32": Case(
        lambda: on_mps(2**16 + 1, 1) @ on_mps(1, 2**16), lambda: on_mps(2**16, 1) @ on_mps(1, 2**16)
    ),
    "conjugate-view-in-product": Case(
        lambda: on_mps(2, 2, dtype=torch.complex64).conj() @ on_mps(2, 2, dtype=torch.complex64),
        lambda: on_mps(2, 2, dtype=torch.complex64).conj().resolve_conj() @ on_mps(2, 2, dtype=torch.complex64),
    ),
    "attention-score-matrix": Case(lambda: attend(8192, 112), lambda: attend(8192, 128)),
    "attention-scores-over-2-32": Case(lambda: attend(2**16 + 1, 112), lambda: attend(2**16, 112)),
    "cat-over-2-31-elements": Case(
        lambda: torch.cat([on_mps(ROWS // 2, 1024)] * 2), lambda: torch.cat([on_mps(ROWS // 2 - 1, 1024)] * 2)
    ),
    "mixed-cat-over-2-31-elements": Case(
        lambda: torch.cat([on_mps(ROWS // 2, 1024), on_mps(1024, ROWS // 2).T]),
        lambda: torch.cat([on_mps(ROWS // 2, 1024)] * 2),
    ),
    "wide-pad": Case(
        lambda: F.pad(on_mps(1, 1, 3, 198, 336), (1, 1, 1, 1, 1, 1), mode="reflect"),
        lambda: F.pad(on_mps(1, 1, 3, 176, 320), (1, 1, 1, 1, 0, 0), mode="reflect"),
    ),
    "pad-scratch": Case(lambda: F.pad(on_mps(2, 112), (0, 16)), lambda: on_mps(2, 128)[:, :112].copy_(on_mps(2, 112))),
    "gather-over-2-31-elements": Case(
        lambda: F.embedding(on_mps(4, dtype=torch.int64), on_mps(ROWS + 1, 1024)),
        lambda: F.embedding(on_mps(4, dtype=torch.int64), on_mps(ROWS, 1024)),
    ),
    "masked-fill-too-large": Case(
        lambda: on_mps(2**17, 2**16).masked_fill_(on_mps(1, dtype=torch.bool), 0),
        lambda: on_mps(2**16, 2**16).masked_fill_(on_mps(1, dtype=torch.bool), 0),
    ),
    "mixed-dtype-layer-norm": Case(
        lambda: F.layer_norm(on_mps(4, 8), (8,), on_mps(8, dtype=FULL)), lambda: F.layer_norm(on_mps(4, 8), (8,))
    ),
    "rms-norm-half-weight": Case(
        lambda: F.rms_norm(on_mps(4, 8), (8,), on_mps(8)), lambda: F.rms_norm(on_mps(4, 8), (8,))
    ),
    "strided-conv-weight": Case(
        lambda: F.conv2d(on_mps(1, 4, 9, 9), on_mps(4, 4, 3, 3, 3)[:, :, 1]),
        lambda: F.conv2d(on_mps(1, 4, 9, 9), on_mps(4, 4, 3, 3, 3)[:, :, 1].contiguous()),
    ),
    "strided-conv2d-input": Case(
        lambda: conv2d(on_mps(1, 4, 9, 9).transpose(2, 3)),
        lambda: conv2d(on_mps(1, 4, 9, 9).transpose(2, 3).contiguous()),
    ),
    "wide-conv2d-kernel": Case(
        lambda: conv2d(on_mps(1, 1, 9, 300), width=256), lambda: conv2d(on_mps(1, 1, 9, 300), width=255)
    ),
    "too-many-conv-channels": Case(
        lambda: F.conv2d(on_mps(1, 1, 4, 4), on_mps(65537, 1, 1, 1)),
        lambda: F.conv2d(on_mps(1, 1, 4, 4), on_mps(65536, 1, 1, 1)),
    ),
    "half-conv-transpose3d": Case(
        lambda: F.conv_transpose3d(on_mps(1, 2, 3, 3, 3), on_mps(2, 2, 3, 3, 3)),
        lambda: F.conv_transpose3d(on_mps(1, 2, 3, 3, 3, dtype=FULL), on_mps(2, 2, 3, 3, 3, dtype=FULL)),
    ),
    "conv3d-on-macos-26-2": Case(lambda: conv3d(3), lambda: conv3d(1)),
    "slow-conv3d": Case(lambda: conv3d(3), lambda: conv3d(1)),
    "depthwise-conv1d": Case(
        lambda: F.conv1d(on_mps(1, 8, 9), on_mps(8, 1, 4), groups=8), lambda: F.conv1d(on_mps(1, 8, 9), on_mps(8, 8, 4))
    ),
    "random-on-device": Case(lambda: torch.randn(4, device="mps"), lambda: torch.randn(4, device="cpu").to("mps")),
    "host-sync": Case(lambda: put_by_mask(torch.bool), lambda: put_by_mask(torch.int64)),
}


def releases_of(rule: Rule) -> list[str]:
    return [version for version in RELEASES if rule in rules_for_version(version)]


def rules_for_version(version: str) -> tuple[Rule, ...]:
    major, minor, patch = version.split(".")
    return rules_for((int(major), int(minor), int(patch)))


def test_every_rule_has_a_case_and_a_source():
    assert sorted(CASES) == sorted(rule.id for rule in RULES)
    assert all(rule.source and rule.summary != "None" for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_fires_on_its_op(rule, record):
    found = record(CASES[rule.id].fires, releases_of(rule)[0]).of_rule(rule.id)
    assert found
    assert "test_rules.py" in found[0].site


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_is_quiet_beside_its_op(rule, record):
    assert not record(CASES[rule.id].quiet, releases_of(rule)[0]).of_rule(rule.id)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.since or rule.until], ids=lambda rule: rule.id)
def test_a_rule_is_quiet_in_releases_without_the_fault(rule, record):
    free = [version for version in RELEASES if version not in releases_of(rule)]
    assert free
    for version in free:
        assert not record(CASES[rule.id].fires, version).of_rule(rule.id)


def test_the_range_of_releases_begins_with_the_first_and_ends_before_the_last():
    rule = next(rule for rule in RULES if rule.id == "conv3d-on-macos-26-2")
    assert rule.since == (2, 14, 0)
    assert not rule.applies_to((2, 13, 9))
    assert rule.applies_to((2, 14, 0))
    rule = next(rule for rule in RULES if rule.id == "pad-scratch")
    assert rule.until == (2, 15, 0)
    assert rule.applies_to((2, 14, 9))
    assert not rule.applies_to((2, 15, 0))


@pytest.mark.parametrize(
    "call",
    [
        lambda left, right, out: out.baddbmm_(left, right),
        lambda left, right, out: torch.baddbmm(out, left, right),
        lambda left, right, out: torch.bmm(left, right, out=out),
        lambda left, right, _: torch.einsum("bmk,bkn->bmn", left, right),
    ],
    ids=["in place", "added", "with out", "einsum"],
)
def test_a_product_is_known_in_all_its_forms(call, record):
    operands = on_mps(2, 16, 32767), on_mps(2, 32767, 16), on_mps(2, 16, 16)
    assert record(lambda: call(*operands)).of_rule("bmm-large-k")


def test_attention_leaves_the_flash_path_for_a_float_mask_of_another_dtype(record):
    bool_mask = on_mps(1, 1, 1, 8192, dtype=torch.bool)
    float_mask = on_mps(1, 1, 1, 8192, dtype=FULL)
    assert not record(lambda: attend(8192, 128, mask=bool_mask)).of_rule("attention-score-matrix")
    assert record(lambda: attend(8192, 128, mask=float_mask)).of_rule("attention-score-matrix")
