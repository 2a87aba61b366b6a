"""Run the numerics self-test: `python -m sana_wm.diagnostics.numerics`.

Exit codes: 0 when everything that sana-wm relies on is right, 7 when something is not, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from sana_wm.errors import SanaWMError
from sana_wm.printing import spell_out_output
from sana_wm.runtime.device import select_device


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    try:
        _run(_parse(arguments))
    except SanaWMError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _run(options: argparse.Namespace) -> None:
    device = select_device(options.device)
    if options.only_accelerator and device.type == "cpu":
        _write(options.json, {"device": "cpu", "failed": [], "checks": []})
        return
    if device.type == "cpu":
        # The reduced shapes are too small to share: on a busy machine, threads that wait for each other take four times
        # as long.
        torch.set_num_threads(1)
    # diffusers and transformers take seconds to import, which a machine without an accelerator is spared.
    from sana_wm.diagnostics.numerics import report  # noqa: PLC0415
    from sana_wm.diagnostics.numerics.check import measure  # noqa: PLC0415
    from sana_wm.diagnostics.numerics.checks import CHECKS  # noqa: PLC0415

    sys.stdout.write(f"{device.type} against the CPU, torch {torch.__version__}\n{report.HEADER}\n")
    measurements = []
    for check in CHECKS:
        sys.stdout.write(report.line_start(check))
        sys.stdout.flush()
        measurements.append(measure(check, device))
        sys.stdout.write(f"{report.line_end(measurements[-1])}\n")
    _write(options.json, report.as_json(device, measurements))
    if error := report.failure(device, measurements):
        raise error


def _write(path: Path | None, content: object) -> None:
    if path is not None:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sana_wm.diagnostics.numerics", description=__doc__)
    parser.add_argument("--device", choices=("auto", "mps", "cuda", "cpu"), default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON as well")
    parser.add_argument("--only-accelerator", action="store_true", help="check nothing where there is only a CPU")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    spell_out_output()
    sys.exit(main())
