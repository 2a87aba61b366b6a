"""Run the MPS check: `make mps-check`, or `PYTHONPATH=tests/mps python -m mps_check`.

Exit codes: 0 without a finding, 7 with findings, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mps_check.check import FRAMES, check_targets
from mps_check.report import LintReport
from sana_wm.errors import SanaWMError, StageFailedError


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    try:
        reports = _check(_parse(arguments))
    except SanaWMError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return StageFailedError.exit_code if any(report.faults for report in reports) else 0


def _check(options: argparse.Namespace) -> list[LintReport]:
    reports: list[LintReport] = []
    implementation = "pr379" if options.pr_root else "diffusers" if options.stock else "sana_wm"
    for report in check_targets(
        implementation,
        options.target,
        frames=options.frames,
        num_layers=options.layers,
        version=options.torch,
        pr_root=options.pr_root,
    ):
        sys.stdout.write(f"{report.as_text()}\n")
        sys.stdout.flush()
        reports.append(report)
    if options.json:
        text = json.dumps([report.as_json() for report in reports], indent=1)
        options.json.write_text(f"{text}\n", encoding="utf-8")
    return reports


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mps_check", description=__doc__)
    parser.add_argument("--target", action="append", help="a network, such as stage1; may be repeated (default: all)")
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES, help="video lengths, 8k+1")
    parser.add_argument("--layers", type=int, help="build the transformers with so many layers (default: all)")
    others = parser.add_mutually_exclusive_group()
    others.add_argument("--stock", action="store_true", help="check diffusers' own classes instead of ours")
    others.add_argument(
        "--pr-root", type=Path, metavar="FOLDER", help="check NVIDIA's own classes in this patched checkout instead"
    )
    parser.add_argument("--torch", metavar="RELEASE", help="judge by another torch release, such as 2.15.0")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the reports as JSON as well")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
