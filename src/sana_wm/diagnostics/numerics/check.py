"""What a check of the self-test is: one operation, its inputs, its reference on the CPU, its tolerance."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sana_wm.runtime.device import empty_cache, synchronize

# Sources of error are rounding of operands and results only; accumulators are float32 everywhere. Measured on CPU and
# CUDA the worst row is off by 2e-3 to 8e-3 in bfloat16; rows of zeros or of other numbers are off by about 1.
BFLOAT16_TOLERANCE = 2e-2
# Measured 1e-6 at most; room for products in TF32.
FLOAT32_TOLERANCE = 2e-3
# For operations that only move data.
EXACT = 0.0

Inputs = tuple[Tensor, ...]


class Draw:
    """Draws the inputs of a check, the same on every machine.

    Args:
        full_size: Draw at the shapes that trigger the known faults. Off on the CPU, which has none of these faults and
            would spend minutes on its own references.
    """

    def __init__(self, *, full_size: bool) -> None:
        self.full_size = full_size
        self._generator = torch.Generator("cpu").manual_seed(0)

    def size(self, full: int, reduced: int) -> int:
        """A length at full size, and what the CPU gets instead."""
        return full if self.full_size else reduced

    def normal(self, *shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self._generator).to(dtype)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Whole numbers from 0 to `high` - 1, int64."""
        return torch.randint(high, shape, generator=self._generator)


@dataclass(frozen=True)
class NumericsCheck:
    """One operation, device against CPU.

    Attributes:
        id: Its name on the command line.
        operation: What is computed, and where the product does so.
        known_issue: Where it is known to go wrong: issue numbers are those of github.com/pytorch/pytorch.
        used: Whether the product relies on it. A failure then stops runs; otherwise it is information.
        draw: Makes the inputs.
        compute: The operation, on the device.
        tolerance: Largest allowed relative error.
        advice: What to do when it fails.
        reference: The same in other operations, on the CPU; `compute` itself when left out.
        reference_dtype: What floating inputs become for the reference.
    """

    id: str
    operation: str
    known_issue: str
    used: bool
    draw: Callable[[Draw], Inputs]
    compute: Callable[..., Tensor]
    tolerance: float
    advice: str
    reference: Callable[..., Tensor] | None = None
    reference_dtype: torch.dtype = torch.float64

    @torch.no_grad()
    def relative_error(self, device: torch.device) -> float:
        """The device's error against the reference; see `worst_row_error`."""
        inputs = self.draw(Draw(full_size=device.type != "cpu"))
        out = self.compute(*(x.to(device) for x in inputs)).to("cpu")
        exact = (x.to(self.reference_dtype) if x.is_floating_point() else x for x in inputs)
        return worst_row_error(out, (self.reference or self.compute)(*exact))


@dataclass(frozen=True)
class Measurement:
    """What a check found.

    Attributes:
        check: The check.
        error: Relative error; infinite where the result is not finite or the operation raised.
        seconds: Time of the check, the CPU's reference included.
        raised: What the operation raised, if it did.
    """

    check: NumericsCheck
    error: float
    seconds: float
    raised: str | None = None

    @property
    def ok(self) -> bool:
        """Within the tolerance."""
        return self.error <= self.check.tolerance

    @property
    def blocks(self) -> bool:
        """Failed, and the product relies on the operation."""
        return self.check.used and not self.ok

    def as_json(self) -> dict[str, object]:
        """For reports; an infinite error is null, which JSON has."""
        check = self.check
        return {
            "id": check.id,
            "operation": check.operation,
            "known_issue": check.known_issue,
            "used": check.used,
            "error": self.error if math.isfinite(self.error) else None,
            "tolerance": check.tolerance,
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "raised": self.raised,
            "advice": check.advice,
        }


def measure(check: NumericsCheck, device: torch.device) -> Measurement:
    """Run one check; an operation that raises, as a missing kernel does, has failed it."""
    started_s = time.perf_counter()
    error, raised = math.inf, None
    try:
        error = check.relative_error(device)
    except (RuntimeError, TypeError, NotImplementedError) as refusal:
        raised = str(refusal).partition("\n")[0]
    synchronize(device)
    empty_cache(device)
    return Measurement(check, error, time.perf_counter() - started_s, raised)


def worst_row_error(out: Tensor, reference: Tensor) -> float:
    """Norm of the error of the worst row, over the root mean square of the reference's row norms.

    Rows lie along the last dim. Known faults are local, a few rows of zeros or of another tensor's numbers: the norm
    over everything would thin them out.

    Raises:
        RuntimeError: The shapes differ.
    """
    if out.shape != reference.shape:
        raise RuntimeError(f"shape {tuple(out.shape)} where the CPU has {tuple(reference.shape)}")
    out, reference = (x.double().reshape(-1, x.shape[-1]) for x in (out, reference))
    if not out.isfinite().all():
        return math.inf
    typical = reference.norm(dim=1).square().mean().sqrt()
    return float((out - reference).norm(dim=1).max() / typical)
