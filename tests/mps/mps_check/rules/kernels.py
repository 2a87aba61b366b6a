"""The rule that needs a table: does the op have an MPS kernel in this release?"""

from __future__ import annotations

from mps_check.kernels import KernelKind, KernelTable
from mps_check.rule import Call, Rule, Severity, rule


def missing_kernel_rule(table: KernelTable) -> Rule:
    """The rule for one release's table. Ops that are taken apart are not judged here: their parts are."""

    @rule(Severity.ERROR, "native_functions.yaml of the release; PYTORCH_ENABLE_MPS_FALLBACK stays unset")
    def missing_kernel(call: Call) -> str | None:
        """The op has no MPS kernel."""
        kind = table.get(call.op, KernelKind.ABSENT)
        return call.op if kind in (KernelKind.MISSING, KernelKind.ABSENT) else None

    return missing_kernel
