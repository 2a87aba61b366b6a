"""All rules of the MPS check. docs/mps.md tells what each one means for a run."""

from __future__ import annotations

from mps_check.kernels import Release
from mps_check.rule import Rule
from mps_check.rules import layers, products, tensors

RULES: tuple[Rule, ...] = tuple(
    entry for module in (tensors, products, layers) for entry in vars(module).values() if isinstance(entry, Rule)
)


def rules_for(release: Release) -> tuple[Rule, ...]:
    """The rules that apply to a torch release."""
    return tuple(entry for entry in RULES if entry.applies_to(release))
