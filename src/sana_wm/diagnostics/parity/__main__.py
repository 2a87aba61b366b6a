"""Our engines against NVIDIA's own classes on this machine: `python -m sana_wm.diagnostics.parity --pr-root FOLDER`.

The student, which the tested checkouts do not have, is held against diffusers' stock classes instead.

Exit codes: 0 when they agree, 7 when they do not, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from sana_wm.diagnostics.parity.streaming import build_clip, run_engine, run_stock
from sana_wm.diagnostics.parity.trial import build_trial, run_backend
from sana_wm.diagnostics.parity.verdict import HEADER, Row, compare
from sana_wm.errors import SanaWMError, StageFailedError
from sana_wm.models.pr379.checkout import without_chatter
from sana_wm.printing import spell_out_output
from sana_wm.replacements.checkout import require_patched
from sana_wm.runtime.device import select_device

DTYPES = ("float32", "bfloat16")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    try:
        rows = _run(_parse(arguments))
    except SanaWMError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0 if all(row.agrees for row in rows) else StageFailedError.exit_code


def _run(options: argparse.Namespace) -> list[Row]:
    device = select_device(options.device)
    checkout = require_patched(options.pr_root)
    sys.stdout.write(
        f"our engines against NVIDIA's classes on {device.type}, torch {torch.__version__}, commit "
        f"{checkout.commit[:12]} ({checkout.tested_as or 'not tested with this release'})\n{HEADER}\n"
    )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        trial, clip = build_trial(Path(folder)), build_clip()
        # Ours first, and stock classes: the patch replaces functions of diffusers in this process, too.
        ours = {
            dtype: run_backend(trial, "diffusers", device.type, dtype, None) | run_engine(clip, device.type, dtype)
            for dtype in DTYPES
        }
        stock = {dtype: run_stock(clip, dtype) for dtype in DTYPES}
        for name in DTYPES:
            with without_chatter():
                nvidia = run_backend(trial, "pr379", device.type, name, options.pr_root) | stock[name]
            for row in compare(name, ours[name], nvidia, ours["float32"]):
                sys.stdout.write(f"{row.as_text()}\n")
                rows.append(row)
    _write(options.json, device, checkout.as_json(), rows)
    return rows


def _write(path: Path | None, device: torch.device, checkout: dict[str, Any], rows: list[Row]) -> None:
    if path is not None:
        report = {
            "device": device.type,
            "torch": torch.__version__,
            "checkout": checkout,
            "rows": [row.as_json() for row in rows],
        }
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sana_wm.diagnostics.parity", description=__doc__)
    parser.add_argument("--pr-root", type=Path, required=True, metavar="FOLDER", help="the patched checkout")
    parser.add_argument("--device", choices=("auto", "mps", "cuda", "cpu"), default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON as well")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    spell_out_output()
    sys.exit(main())
