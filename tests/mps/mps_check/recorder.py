"""Watches every aten call that reaches the fake device: judges it by the rules and keeps account of live storages."""

# The dispatcher, storages and frames have no public way in.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import sys
import sysconfig
import weakref
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mps_check.fake_device import attention_on_mps
from mps_check.kernels import KernelKind, installed_version, kernel_table, parse_release
from mps_check.report import Finding, LargestTensor, LintReport
from mps_check.rule import Call, Rule, describe_tensor, is_on_device
from mps_check.rules import rules_for
from mps_check.rules.kernels import missing_kernel_rule
from mps_check.rules.products import takes_flash_path

_DEVICE_OF: Any = torch.ops.prim.device.default


@dataclass
class _Hits:
    detail: str
    count: int = 0


class Recorder(TorchDispatchMode):
    """Record what runs in its context, inside `fake_mps_device` and under `torch.no_grad`.

    Args:
        version: The torch release to judge by: the installed one or one with a shipped kernel table.
    """

    def __init__(self, version: str | None = None) -> None:
        super().__init__()
        self.version = version or installed_version()
        self._table = kernel_table(self.version)
        self._rules = (missing_kernel_rule(self._table), *rules_for(parse_release(self.version)))
        self._judged: dict[Hashable, list[tuple[Rule, str]]] = {}
        self._hits: dict[tuple[Rule, str], _Hits] = {}
        self._ops: Counter[str] = Counter()
        self._live: dict[int, int] = {}
        self._live_bytes = 0
        self._peak_bytes = 0
        self._largest: LargestTensor | None = None

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is _DEVICE_OF and isinstance(args[0], FakeTensor):
            return args[0].fake_device  # asked for at every index; the modes below would take longer to say the same
        kwargs = kwargs or {}
        op = _op_name(func)
        leaves = tree_leaves((args, kwargs))
        inputs = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
        if self._table.get(op) is KernelKind.COMPOSITE_IMPLICIT and any(map(is_on_device, inputs)):
            return self._take_apart(func, op, args, kwargs)
        output = _run(func, op, args, kwargs)
        outputs = tuple(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
        if any(map(is_on_device, inputs + outputs)):
            call = Call(op, _arguments(func, args, kwargs), inputs, outputs, bool(func.is_view))
            self._judge(call, (op, *map(_fingerprint, leaves), *map(_fingerprint, outputs)))
            self._account(call)
        return output

    def _take_apart(self, func: Any, op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """In inference mode composite ops arrive here whole; under `no_grad` torch has opened them before."""
        decompose = attention_on_mps if op == "scaled_dot_product_attention" else func.decompose
        with self:
            return decompose(*args, **kwargs)

    def _judge(self, call: Call, fingerprint: Hashable) -> None:
        """Hold a call against the rules. Layers and frames repeat the same calls, so verdicts are kept."""
        self._ops[call.op] += 1
        if fingerprint not in self._judged:
            verdicts = ((rule, rule.check(call)) for rule in self._rules)
            self._judged[fingerprint] = [(rule, detail) for rule, detail in verdicts if detail is not None]
        for rule, detail in self._judged[fingerprint]:
            self._hits.setdefault((rule, source_site()), _Hits(detail)).count += 1

    def _account(self, call: Call) -> None:
        for tensor in call.on_device:
            self._hold(tensor)
        for tensor in call.written:
            size_bytes = tensor.numel() * tensor.element_size()
            if self._largest is None or size_bytes > self._largest.size_bytes:
                self._largest = LargestTensor(size_bytes, f"{call.op} {describe_tensor(tensor)}", source_site())

    def hold(self, module: nn.Module) -> None:
        """Count a module's weights, all of which are resident whether a call reads them or not."""
        for tensor in (*module.parameters(), *module.buffers()):
            self._hold(tensor)

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._live:
            return
        self._live[address] = storage.nbytes()
        self._live_bytes += storage.nbytes()
        self._peak_bytes = max(self._peak_bytes, self._live_bytes)
        weakref.finalize(storage, self._release, address)

    def _release(self, address: int) -> None:
        self._live_bytes -= self._live.pop(address)

    def report(self, target: str) -> LintReport:
        """What was found so far."""
        return LintReport(
            target=target,
            torch_version=self.version,
            findings=tuple(Finding(rule, site, hits.detail, hits.count) for (rule, site), hits in self._hits.items()),
            ops=dict(sorted(self._ops.items())),
            peak_bytes=self._peak_bytes,
            largest=self._largest,
        )


@cache
def _op_name(func: Any) -> str:
    """`add.Tensor` for `aten::add.Tensor`; other namespaces are kept."""
    name = str(func.name())
    return name.removeprefix("aten::")


@cache
def _argument_names(func: Any) -> tuple[str, ...]:
    return tuple(argument.name for argument in func._schema.arguments)


def _arguments(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**dict(zip(_argument_names(func), args, strict=False)), **kwargs}


def _run(func: Any, op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a call on fake tensors. The flash kernel writes its output only; torch's meta kernel always makes scores."""
    if op == "_scaled_dot_product_attention_math_for_mps":
        query, key, value = args[:3]
        if takes_flash_path(query, key, value, _arguments(func, args, kwargs).get("attn_mask")):
            return query.new_empty((*query.shape[:-1], value.shape[-1])), query.new_empty(0)
    return func(*args, **kwargs)


def _fingerprint(leaf: Any) -> Hashable:
    """All that a rule may look at."""
    if isinstance(leaf, Tensor):
        return leaf.dtype, is_on_device(leaf), tuple(leaf.shape), leaf.stride(), leaf.is_conj()
    return type(leaf), leaf


_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)
_STDLIB = sysconfig.get_path("stdlib")


@cache
def _short_path(filename: str) -> str | None:
    """The path from its package on; `None` for machinery: torch, the standard library, decorators, this check."""
    if filename.startswith((_TORCH, _HERE, "<")) or "/_pytest/" in filename or "/pluggy/" in filename:
        return None
    for root in ("site-packages/", "/src/"):
        if root in filename:
            short = filename.rpartition(root)[2]
            return None if "/utils/" in short else short
    return None if filename.startswith(_STDLIB) else Path(filename).name


def source_site() -> str:
    """Where the network made the call, and from which other file it got there.

    Such as `diffusers/models/attention_dispatch.py:3760 f < diffusers/models/attention_processor.py:310 g`.
    """
    sites: list[str] = []
    innermost: str | None = None
    frame = sys._getframe(1)
    while frame is not None and len(sites) < 2:
        path = _short_path(frame.f_code.co_filename)
        if path is not None and path != innermost and (innermost is None or "/" in path):
            innermost = innermost or path
            sites.append(f"{path}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(sites) or "?"
