"""What the long series found, each in its part of reports/fuzzing.json.

There is no count of tracebacks, hangs or large processes: one of them ends its series without a record.
"""

from __future__ import annotations

import json
import platform
import resource
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sana_wm.runs.receipts import current_versions

REPORT = Path(__file__).resolve().parents[2] / "reports" / "fuzzing.json"
MOST_MIB = 1024


def peak_mib() -> int:
    """The most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024**2 if platform.system() == "Darwin" else 1024)


def record_series(name: str, what: str, command: str, seed: int, cases: int, outcomes: Mapping[str, Any]) -> None:
    """Put a series that ended well into the report, in place of its last record."""
    assert peak_mib() < MOST_MIB
    report = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.is_file() else {}
    series: dict[str, Any] = report.get("series", {})
    series[name] = {
        "what": what,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "machine": platform.platform(),
        "versions": current_versions(),
        "seed": seed,
        "cases": cases,
        "outcomes": outcomes,
        "peak_mib": peak_mib(),
    }
    limits = "no traceback, 20 s and 1 GiB a case at most: a series that breaks one leaves no record"
    report = {"limits": limits, "cases": sum(one["cases"] for one in series.values()), "series": series}
    REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
