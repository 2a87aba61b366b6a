"""What a rule of the MPS check is: a judgement over one aten call, with severity, range of releases and source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from mps_check.kernels import Release, parse_release


class Severity(StrEnum):
    """What a hit means for a run."""

    ERROR = "error"
    """It raises or aborts."""
    SILENT = "silent"
    """It can give a wrong result without an error."""
    MEMORY = "memory"
    """It takes memory far beyond its output."""
    INFO = "info"
    """Worth knowing, no fault."""


@dataclass(frozen=True)
class Call:
    """One aten call that reaches the device.

    Attributes:
        op: The overload, such as `add.Tensor`; ops of another namespace than aten keep it.
        arguments: By parameter name, as far as given; defaults are left out.
        inputs: All tensors among the arguments, in order; one given as `out` too.
        outputs: All tensors returned.
        is_view: It moves no data.
    """

    op: str
    arguments: dict[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    is_view: bool = False

    @property
    def name(self) -> str:
        """The op without its overload and without the underscore of its in-place form: `add` for `add_.Tensor`."""
        return self.op.partition(".")[0].rstrip("_")

    @property
    def on_device(self) -> tuple[Tensor, ...]:
        """Inputs and outputs that lie on the device."""
        return tuple(filter(is_on_device, self.inputs + self.outputs))

    @property
    def written(self) -> tuple[Tensor, ...]:
        """What the call computes on the device; nothing for a view."""
        return () if self.is_view else tuple(filter(is_on_device, self.outputs))


Check: TypeAlias = Callable[[Call], str | None]


@dataclass(frozen=True)
class Rule:
    """One known limit.

    Attributes:
        summary: What goes wrong, one line.
        source: A `#number` is an issue or pull request of github.com/pytorch/pytorch; "wheel" means read from the macOS
            arm64 wheels of the releases named.
        check: Says what it found, or `None`.
        since: First release that has the fault; `None` where no older one is known to be free of it.
        until: First release without it; `None` where none is known.
    """

    id: str
    severity: Severity
    summary: str
    source: str
    check: Check
    since: Release | None = None
    until: Release | None = None

    def applies_to(self, release: Release) -> bool:
        """Whether a torch release has this fault."""
        return (self.since is None or self.since <= release) and (self.until is None or release < self.until)


def rule(
    severity: Severity, source: str, *, since: str | None = None, until: str | None = None
) -> Callable[[Check], Rule]:
    """Make a check a rule: its name gives the id, the first line of its docstring the summary."""

    def make(check: Check) -> Rule:
        return Rule(
            id=check.__name__.replace("_", "-"),
            severity=severity,
            summary=str(check.__doc__).splitlines()[0].rstrip("."),
            source=source,
            check=check,
            since=parse_release(since) if since else None,
            until=parse_release(until) if until else None,
        )

    return make


def is_on_device(tensor: Tensor) -> bool:
    """Whether a tensor lies on the fake device; `tensor.device` would be a dispatch of its own."""
    return isinstance(tensor, FakeTensor) and tensor.fake_device.type == "mps"


def describe_tensor(tensor: Tensor) -> str:
    """Such as `bfloat16(2, 20, 36080, 112)`."""
    return f"{str(tensor.dtype).removeprefix('torch.')}{tuple(tensor.shape)}"


def first_such(tensors: Sequence[Tensor], condition: Callable[[Tensor], bool]) -> str | None:
    """The first tensor that meets a condition, described."""
    return next((describe_tensor(tensor) for tensor in tensors if condition(tensor)), None)
