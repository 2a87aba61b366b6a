"""How far two backends may be apart, and the table that says how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

#: Relative error allowed in float32: both compute the same formulae, in another order.
FLOAT32_LIMIT = 1e-4
#: In bfloat16 either may be so many times as far from float32 as the other.
BFLOAT16_FACTOR = 2.0

HEADER = f"{'stage':<26} {'dtype':<9} {'apart':>9} {'ours':>9} {'NVIDIA':>9}  verdict"


@dataclass(frozen=True)
class Row:
    """One stage in one dtype.

    Attributes:
        stage: What was computed.
        dtype: The networks' dtype.
        apart: Relative difference of the two results.
        ours: Of our result against our float32 one; `None` in float32.
        nvidia: Of NVIDIA's result, or of stock classes' where the stage says so, against our float32 one.
    """

    stage: str
    dtype: str
    apart: float
    ours: float | None
    nvidia: float

    @property
    def agrees(self) -> bool:
        """Whether the two are as close as they should be; never with NaN."""
        if self.ours is None:
            return self.apart <= FLOAT32_LIMIT
        return self.nvidia <= BFLOAT16_FACTOR * self.ours and self.ours <= BFLOAT16_FACTOR * self.nvidia

    def as_text(self) -> str:
        """A line of the table."""
        ours = "" if self.ours is None else f"{self.ours:.1e}"
        verdict = "same" if self.agrees else "DIFFERENT"
        return f"{self.stage:<26} {self.dtype:<9} {self.apart:>9.1e} {ours:>9} {self.nvidia:>9.1e}  {verdict}"

    def as_json(self) -> dict[str, Any]:
        """Everything by name."""
        return asdict(self) | {"agrees": self.agrees}


def compare(
    dtype: str, ours: Mapping[str, Tensor], nvidia: Mapping[str, Tensor], exact: Mapping[str, Tensor]
) -> list[Row]:
    """A row for every stage; `exact` is our float32 result."""
    return [
        Row(
            stage,
            dtype,
            apart=_relative_error(nvidia[stage], ours[stage]),
            ours=None if ours is exact else _relative_error(ours[stage], exact[stage]),
            nvidia=_relative_error(nvidia[stage], exact[stage]),
        )
        for stage in ours
    ]


def _relative_error(out: Tensor, expected: Tensor) -> float:
    return float((out.double() - expected.double()).norm() / expected.double().norm())
