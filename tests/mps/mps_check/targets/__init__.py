"""What the MPS check covers: one entry per network and implementation."""

from __future__ import annotations

from collections.abc import Sequence

from mps_check.targets import ours, stock
from mps_check.targets.target import Implementation, Target
from sana_wm.errors import UsageError

TARGETS: tuple[Target, ...] = (*ours.TARGETS, *stock.TARGETS)


def find_targets(
    implementation: Implementation, names: Sequence[str] | None = None, *, among: Sequence[Target] = TARGETS
) -> list[Target]:
    """The targets of an implementation, all of them or those named.

    Raises:
        UsageError: A name is not registered.
    """
    targets = {target.name: target for target in among if target.implementation == implementation}
    unknown = [name for name in names or () if name not in targets]
    if unknown:
        raise UsageError("there is no such target", got=", ".join(unknown), expected=f"one of {', '.join(targets)}")
    return [targets[name] for name in names or targets]
