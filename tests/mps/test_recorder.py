"""The fake device comes and goes without a trace; the recorder counts bytes and names lines."""

from __future__ import annotations

import json

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F

from mps_check.fake_device import fake_mps_device, move_to_fake_device
from mps_check.recorder import Recorder

MIB = 1024**2


@pytest.mark.skipif(torch.backends.mps.is_built(), reason="here MPS is real")
def test_the_fake_device_leaves_nothing_behind():
    for _ in range(2):
        with fake_mps_device():
            torch.mps.synchronize()
            assert torch.empty(3, device="mps")[1:].device == torch.device("mps", 0)
    with pytest.raises(RuntimeError, match="without MPS"):
        torch.mps.synchronize()
    with pytest.raises(NotImplementedError, match="'MPS' backend"):
        torch.empty(3, device="mps")
    x = torch.randn(1, 1, 3, 4)
    assert F.scaled_dot_product_attention(x, x, x).shape == x.shape


def test_a_module_moves_to_the_fake_device_with_its_ties():
    with fake_mps_device():
        first, second = torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)
        tied = torch.nn.Linear(4, 4)
        tied.weight = first.weight
        network = move_to_fake_device(torch.nn.Sequential(first, second, tied), torch.bfloat16)
        assert network[0].weight is network[2].weight
        assert network[1].running_mean.dtype == torch.bfloat16
        assert network[1].num_batches_tracked.dtype == torch.int64
        assert {parameter.device.type for parameter in network.parameters()} == {"mps"}
    assert not network.training


def test_the_peak_is_the_highest_sum_of_live_storages(record):
    def call():
        first = torch.zeros(MIB, device="mps")  # 4 MiB
        second = first + 1
        del first
        view = second[1:]  # no storage of its own
        third = torch.cat([view, view])  # 4 + 8 MiB live
        del second, view
        return third + 1, third  # 8 + 8 MiB live

    assert record(call).peak_bytes == 16 * MIB - 16


def test_weights_count_though_no_call_reads_them():
    recorder = Recorder()
    with fake_mps_device():
        recorder.hold(move_to_fake_device(torch.nn.Linear(1024, 1024, bias=False), torch.bfloat16))
        assert recorder.report("held").peak_bytes == 2 * MIB


def test_what_lies_on_the_cpu_is_not_judged(record):
    report = record(lambda: torch.linspace(0, 1, 8, dtype=torch.float64, device="cpu").exp())
    assert report.ops == {}
    assert report.findings == ()


def test_the_largest_tensor_is_named_with_its_line(record):
    report = record(lambda: torch.zeros(MIB, device="mps").to(torch.float16))
    assert report.largest.size_bytes == 4 * MIB
    assert "float32(1048576,)" in report.largest.what
    assert "test_recorder.py" in report.largest.site


def test_hits_of_one_line_are_counted_together(record):
    def call():
        for length in (1, 2, 3):
            F.pad(torch.empty(2, length, device="mps"), (0, 1))

    (found,) = record(call).of_rule("pad-scratch")
    assert found.count == 3


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_composite_ops_are_opened_with_gradients_off_and_in_inference_mode(guard):
    recorder = Recorder()
    with fake_mps_device(), guard():
        x = torch.empty(1, 1, 16, 128, dtype=torch.bfloat16, device="mps")
        with recorder:
            F.scaled_dot_product_attention(x, x, x)
            F.linear(x, x[0, 0])
            torch.einsum("bhld,bhmd->bhlm", x, x)
    ops = recorder.report("opened").ops
    assert {"_scaled_dot_product_attention_math_for_mps", "linear", "bmm"} <= set(ops)
    assert not {"scaled_dot_product_attention", "einsum"} & set(ops)


def test_a_report_is_json_and_text(record):
    report = record(lambda: F.pad(torch.empty(2, 3, device="mps"), (0, 1)), "2.14.1")
    data = json.loads(json.dumps(report.as_json()))
    assert data["torch"] == "2.14.1"
    assert data["faults"] == 1
    assert data["findings"][0]["rule"] == "pad-scratch"
    assert data["findings"][0]["sites"][0]["count"] == 1
    assert "[memory] pad-scratch" in report.as_text()
    assert "1 findings" in report.as_text()


def test_information_is_no_fault(record):
    x = torch.empty(2, 8, dtype=torch.bfloat16, device="mps")
    report = record(lambda: F.rms_norm(x, (8,), x[0]))
    assert report.findings
    assert report.faults == ()
    assert "no finding" in report.as_text()


def test_the_cpu_computes_for_real_and_long_tables_stay_fake(record):
    def call():
        mask = torch.tensor([1, 0, 1]).bool()
        assert not bool(mask.all())
        assert mask.nonzero().flatten().tolist() == [0, 2]
        counts = torch.zeros(3)
        counts[mask] += 1
        assert counts.tolist() == [1.0, 0.0, 1.0]
        table = torch.arange(2**13).float()
        assert isinstance(table[:, None] * table, FakeTensor)
        moved = torch.ones(4).to("mps")
        assert isinstance(moved.cpu(), FakeTensor)

    assert set(record(call).ops) == {"_to_copy"}
