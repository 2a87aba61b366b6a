"""What the MPS check found on one target, as data and as text."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from mps_check.rule import Rule, Severity
from sana_wm.sizes import GIB


@dataclass(frozen=True)
class Finding:
    """A rule that was hit at one source line.

    Attributes:
        site: File, line and function, and the caller from another file after `<`.
        detail: The first hit there, such as the tensor.
        count: Hits at this line.
    """

    rule: Rule
    site: str
    detail: str
    count: int


@dataclass(frozen=True)
class LargestTensor:
    """The largest tensor that a call wrote to the device."""

    size_bytes: int
    what: str
    site: str


@dataclass(frozen=True)
class LintReport:
    """The outcome for one target under one torch release.

    Attributes:
        ops: Distinct aten overloads that reached the device, with their number of calls.
        peak_bytes: Highest sum of live device storages, weights and inputs included. An estimate: allocator slack and
            MPSGraph scratch come on top.
    """

    target: str
    torch_version: str
    findings: tuple[Finding, ...]
    ops: dict[str, int]
    peak_bytes: int
    largest: LargestTensor | None

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that are more than information; none means that the target is safe as far as is known."""
        return tuple(finding for finding in self.findings if finding.rule.severity is not Severity.INFO)

    def of_rule(self, rule_id: str) -> tuple[Finding, ...]:
        """The findings of one rule."""
        return tuple(finding for finding in self.findings if finding.rule.id == rule_id)

    def as_json(self) -> dict[str, Any]:
        """Everything, in JSON types; findings by rule."""
        return {
            "target": self.target,
            "torch": self.torch_version,
            "faults": len(self.faults),
            "peak_bytes": self.peak_bytes,
            "largest_tensor": vars(self.largest) if self.largest else None,
            "findings": [_rule_as_json(findings) for findings in self._by_rule()],
            "ops": self.ops,
        }

    def as_text(self) -> str:
        """For people: a headline, then each rule with its source lines."""
        verdict = f"{len(self.faults)} findings" if self.faults else "no finding"
        lines = [
            f"{self.target}, torch {self.torch_version}: {verdict}; "
            f"{len(self.ops)} ops, {sum(self.ops.values())} calls, peak {self.peak_bytes / GIB:.2f} GiB"
        ]
        if self.largest:
            size_gib = self.largest.size_bytes / GIB
            lines.append(f"  largest tensor {size_gib:.2f} GiB: {self.largest.what} at {self.largest.site}")
        for findings in self._by_rule():
            rule = findings[0].rule
            lines.append(f"  [{rule.severity}] {rule.id}: {rule.summary} ({rule.source})")
            lines.extend(f"    {found.count:5d}x {found.detail} at {found.site}" for found in findings)
        return "\n".join(lines)

    def _by_rule(self) -> list[list[Finding]]:
        """Findings of one rule together, the worst severities first."""
        groups: dict[str, list[Finding]] = defaultdict(list)
        for finding in self.findings:
            groups[finding.rule.id].append(finding)
        order = list(Severity)
        return sorted(groups.values(), key=lambda findings: order.index(findings[0].rule.severity))


def _rule_as_json(findings: list[Finding]) -> dict[str, Any]:
    rule = findings[0].rule
    return {
        "rule": rule.id,
        "severity": str(rule.severity),
        "summary": rule.summary,
        "source": rule.source,
        "sites": [{"site": found.site, "detail": found.detail, "count": found.count} for found in findings],
    }
