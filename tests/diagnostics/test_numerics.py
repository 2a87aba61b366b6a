"""The self-test passes on this CPU, and each of its checks fails when a kernel that it is about goes wrong."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"

#: For each check of one operation, the kernels whose fault it must see.
KERNELS: dict[str, tuple[str, ...]] = {
    "linear-188160-split": ("mm",),
    "linear-188160": ("addmm",),
    "linear-32767": ("mm",),
    "bmm-36080": ("bmm",),
    "delta-rule-products": ("bmm", "mul", "add_"),
    "delta-rule-scan": ("baddbmm_", "clone"),
    "mm-into-slice": ("mm",),
    "attention-128": (ATTENTION,),
    "attention-128-mask": (ATTENTION,),
    "attention-112": (ATTENTION,),
    "attention-112-mask": (ATTENTION,),
    "attention-by-blocks": ("bmm", "baddbmm_", "exp_"),
    "sdpa-112": (ATTENTION,),
    "softmax-mask": ("_softmax", "masked_fill"),
    "conv3d": ("convolution",),
    "streaming-conv": ("convolution", "copy_"),
    "streaming-conv-window": ("convolution", "copy_"),
    "streaming-conv-channels-last": ("convolution", "copy_"),
    "reflection-pad3d": ("reflection_pad3d",),
    "constant-pad3d": ("constant_pad_nd",),
    "conv2d-1x1": ("convolution", "clone"),
    "conv2d-strided-weight": ("convolution",),
    "conv2d-channel-slice": ("convolution",),
    "depthwise-conv2d": ("convolution",),
    "rms-norm-weight": ("rsqrt", "mul"),
    "layer-norm": ("native_layer_norm",),
    "layer-norm-modulated": ("native_layer_norm",),
    "layer-norm-mixed": ("native_layer_norm",),
    "activations": ("silu", "gelu", "softplus", "sigmoid", "tanh", "relu"),
    "channel-rms": ("mean", "sqrt_", "div", "silu_"),
    "reductions": ("mean", "amax", "amin", "sum"),
    "complex-product": ("mul",),
    "complex-bmm": ("bmm",),
    "cat-strided": ("cat",),
    "convolution-over-time": ("cat", "addmm"),
    "permute-8d": ("clone",),
    "sort-gather": ("sort", "gather"),
    "cumsum": ("cumsum",),
    "embedding": ("embedding",),
    "slices-in-place": ("add_", "mul_", "copy_"),
    "casts-strided": ("_to_copy", "copy_"),
}
#: The same for the networks, which run in two dtypes.
NETWORK_KERNELS: dict[str, tuple[str, ...]] = {
    "stage1-step": ("bmm", "native_layer_norm", ATTENTION),
    "refiner-block": ("addmm", ATTENTION),
    "vae-decode": ("convolution", "silu_"),
    "vae-encode": ("convolution",),
    "connectors": ("gather", ATTENTION),
    "gemma2": ("embedding", "_softmax"),
    "gemma3": (ATTENTION,),
}
ALL_KERNELS = KERNELS | {
    f"{name}-{dtype}": kernels if dtype == "float32" else kernels[:1]
    for name, kernels in NETWORK_KERNELS.items()
    for dtype in ("bfloat16", "float32")
}
FAULTS = [(check_id, kernel) for check_id, kernels in ALL_KERNELS.items() for kernel in kernels]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def check_named(check_id: str) -> Any:
    from sana_wm.diagnostics.numerics.checks import CHECKS

    return next(check for check in CHECKS if check.id == check_id)


def broken(check: Any, kernel: str) -> Any:
    """The check on a device whose kernel leaves the last slice of its result as zeros, as MPS pads and tables do."""
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode

    class Fault(TorchDispatchMode):
        hits = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if func.__name__.split(".")[0] == kernel:
                first = out if isinstance(out, Tensor) else out[-1] if kernel == "sort" else out[0]
                if first.ndim:
                    self.hits += 1
                    first.select(0, -1).zero_()
            return out

    def compute(*inputs: Tensor) -> Tensor:
        with Fault() as fault:
            out = check.compute(*inputs)
        assert fault.hits, f"{check.id} never calls {kernel}"
        return out

    return dataclasses.replace(check, compute=compute, reference=check.reference or check.compute)


def test_the_table_of_kernels_names_every_check_once() -> None:
    from sana_wm.diagnostics.numerics.checks import CHECKS

    assert [check.id for check in CHECKS] == list(ALL_KERNELS)


@pytest.mark.parametrize("check_id", ALL_KERNELS)
def test_a_check_passes_on_the_cpu(check_id: str) -> None:
    import torch

    from sana_wm.diagnostics.numerics.check import measure

    measurement = measure(check_named(check_id), torch.device("cpu"))
    assert measurement.ok, (measurement.error, measurement.raised)


@pytest.mark.parametrize(("check_id", "kernel"), FAULTS)
def test_a_check_fails_when_its_kernel_is_broken(check_id: str, kernel: str) -> None:
    import torch

    from sana_wm.diagnostics.numerics.check import measure

    measurement = measure(broken(check_named(check_id), kernel), torch.device("cpu"))
    assert not measurement.ok
    assert measurement.raised is None


def test_attention_that_ignores_its_mask_is_found() -> None:
    import torch

    from sana_wm.models.attention import attention

    check = check_named("attention-112-mask")
    deaf = dataclasses.replace(check, compute=lambda query, key, value, _mask: attention(query, key, value))
    assert deaf.relative_error(torch.device("cpu")) > check.tolerance


def test_inputs_are_the_same_every_time_and_full_size_where_there_is_an_accelerator() -> None:
    import torch

    from sana_wm.diagnostics.numerics.check import Draw

    check = check_named("bmm-36080")
    first, second = (check.draw(Draw(full_size=False)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    assert check_named("attention-112").draw(Draw(full_size=True))[1].shape == (1, 2, 36080, 112)
    height, width = check_named("reflection-pad3d").draw(Draw(full_size=True))[0].shape[-2:]
    assert (height + 2) * (width + 2) >= 65536


def test_one_wrong_row_among_many_is_seen_and_what_is_not_finite_is_infinitely_wrong() -> None:
    import torch

    from sana_wm.diagnostics.numerics.check import worst_row_error

    reference = torch.ones(100_000, 4)
    out = reference.clone()
    out[77] = 0
    assert worst_row_error(out, reference) == pytest.approx(1.0)
    out[77, 2] = math.nan
    assert worst_row_error(out, reference) == math.inf
    with pytest.raises(RuntimeError, match="shape"):
        worst_row_error(reference[:1], reference)


def run_main(monkeypatch: pytest.MonkeyPatch, checks: tuple[Any, ...], *arguments: str) -> int:
    from sana_wm.diagnostics.numerics import checks as catalogue
    from sana_wm.diagnostics.numerics.__main__ import main

    monkeypatch.setattr(catalogue, "CHECKS", checks)
    return main(["--device", "cpu", *arguments])


def test_a_failure_exits_7_and_names_operation_known_issue_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    check = check_named("cat-strided")
    code = run_main(monkeypatch, (check_named("cumsum"), broken(check, "cat")), "--json", str(tmp_path / "report.json"))
    captured = capsys.readouterr()
    assert code == 7
    assert all(part in captured.err for part in (check.id, check.operation, check.known_issue, check.advice))
    lines = {line.split()[0]: line for line in captured.out.splitlines()}
    assert lines["cumsum"].endswith("ok")
    assert lines["cat-strided"].endswith("FAILED")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["device"] == "cpu"
    assert report["failed"] == ["cat-strided"]
    assert [entry["ok"] for entry in report["checks"]] == [True, False]


def refuse(*_: object) -> Any:
    raise NotImplementedError("no kernel for this device\nand a long explanation")


@pytest.mark.parametrize(("check_id", "code"), [("reflection-pad3d", 0), ("cat-strided", 7)])
def test_an_operation_that_raises_has_failed_and_blocks_only_if_it_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, check_id: str, code: int
) -> None:
    check = dataclasses.replace(check_named(check_id), compute=refuse)
    assert run_main(monkeypatch, (check,), "--json", str(tmp_path / "report.json")) == code
    assert "FAILED" in capsys.readouterr().out
    (entry,) = json.loads((tmp_path / "report.json").read_text())["checks"]
    assert entry["error"] is None
    assert entry["raised"] == "no kernel for this device"


def test_where_there_is_only_a_cpu_nothing_is_checked_and_diffusers_is_not_loaded(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from sana_wm.diagnostics.numerics.__main__ import main\n"
        "assert main(['--device', 'cpu', '--only-accelerator', '--json', sys.argv[1]]) == 0\n"
        "assert 'diffusers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "report.json")], check=True)
    assert json.loads((tmp_path / "report.json").read_text()) == {"device": "cpu", "failed": [], "checks": []}


@pytest.mark.long
def test_the_whole_self_test_through_the_command_line(sana_wm: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = sana_wm("doctor", "--numerics", "--json")
    assert code == 0, err
    report = json.loads(out)["numerics"]
    assert [entry["id"] for entry in report["checks"]] == list(ALL_KERNELS)
