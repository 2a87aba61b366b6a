"""The streaming row of `sana-wm doctor --parity`: both sides agree on this CPU, and a fault in either is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sana_wm.diagnostics.parity import streaming
from sana_wm.diagnostics.parity.streaming import STAGE, build_clip, run_engine, run_stock
from sana_wm.diagnostics.parity.verdict import Row, compare
from sana_wm.models.streaming.memory import StreamMemory

DTYPES = ("float32", "bfloat16")
Results = Mapping[str, Mapping[str, Tensor]]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def ours() -> Results:
    return {dtype: run_engine(build_clip(), "cpu", dtype) for dtype in DTYPES}


@pytest.fixture(scope="module")
def stock() -> Results:
    return {dtype: run_stock(build_clip(), dtype) for dtype in DTYPES}


class Fault(TorchDispatchMode):
    """A kernel that leaves the last slice of its result as zeros."""

    def __init__(self, kernel: str) -> None:
        super().__init__()
        self.kernel, self.hits = kernel, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        first = out if isinstance(out, Tensor) else out[0]
        if func.__name__.split(".")[0] == self.kernel and first.ndim:
            self.hits += 1
            first.select(0, -1).zero_()
        return out


def row_of(dtype: str, ours: Results, theirs: Results) -> Row:
    (row,) = compare(dtype, ours[dtype], theirs[dtype], ours["float32"])
    return row


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_engine_and_the_stock_classes_agree(dtype: str, ours: Results, stock: Results) -> None:
    row = row_of(dtype, ours, stock)
    assert row.agrees, row.as_text()
    assert row.stage == STAGE
    if dtype == "float32":
        assert row.apart <= 1e-5


@pytest.mark.parametrize("kernel", ["baddbmm_", "convolution", "_scaled_dot_product_flash_attention_for_cpu"])
def test_a_broken_kernel_is_found(kernel: str, stock: Results) -> None:
    with Fault(kernel) as fault:
        faulty = {"float32": run_engine(build_clip(), "cpu", "float32")}
    assert fault.hits
    assert not row_of("float32", faulty, stock).agrees


def test_a_lost_memory_is_found(stock: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: StreamMemory) -> None:
        return None

    monkeypatch.setattr(StreamMemory, "past", nothing)
    faulty = {"float32": run_engine(build_clip(), "cpu", "float32")}
    assert not row_of("float32", faulty, stock).agrees


@pytest.mark.parametrize("part", ["_short_convolution", "_temporal_convolution", "_attention"])
def test_a_stock_network_that_sees_later_chunks_is_found(
    part: str, ours: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unchanged(forward: Callable[..., Tensor], _: object) -> Callable[..., Tensor]:
        return forward

    monkeypatch.setattr(streaming, part, unchanged)
    theirs = {"float32": run_stock(build_clip(), "float32")}
    assert not row_of("float32", ours, theirs).agrees
