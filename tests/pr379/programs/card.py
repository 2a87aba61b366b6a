"""All that a CUDA card can show of the patch: `python card.py CHECKOUT GOLDEN FILE`, with Triton and einops; 5 minutes.

Golden outputs with the patch and with upstream's own Triton kernels, Stage 1 at its released size, both backends side
by side. FILE is written anew after every part, so that whatever ends this early leaves what it had. A part that fails
says why in its own place, and this ends with code 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sana_wm.bench.measure import report, write_json

PROGRAMS = Path(__file__).parent


def run(command: list[str]) -> Any:
    """What a program prints as JSON, or why it failed."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip()[-600:]}
    return json.loads(done.stdout)


def golden_rows(checkout: str, golden: str, device: str, dtype: str) -> Any:
    """Relative error of every output with the patch and with upstream's kernels, and how often the one is the other."""
    command = [str(PROGRAMS / "golden.py"), checkout, golden, "--device", device, "--dtype", dtype]
    patched, stock = run(command), run([*command, "--stock"])
    if "failed" in patched or "failed" in stock:
        return {"failed": {"patched": patched, "stock": stock}}
    return [
        {"output": name, "patched": patched[name], "stock": stock[name], "ratio": round(patched[name] / stock[name], 3)}
        for name in patched
        if name in stock and not name.endswith(".max_abs")
    ]


def parity(checkout: str, device: str) -> Any:
    """What `sana-wm doctor --parity` finds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "parity.json"
        command = ["-m", "sana_wm.diagnostics.parity", "--pr-root", checkout, "--device", device, "--json", str(file)]
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
        return json.loads(file.read_text()) if file.exists() else {"failed": done.stderr.strip()[-600:]}


def main() -> None:
    """Every part in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout")
    parser.add_argument("golden")
    parser.add_argument("file", type=Path)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    checkout, golden, device = options.checkout, options.golden, options.device
    parts: dict[str, Callable[[], Any]] = {
        "bfloat16": lambda: golden_rows(checkout, golden, device, "bfloat16"),
        "float32": lambda: golden_rows(checkout, golden, device, "float32"),
        "parity": lambda: parity(checkout, device),
        "released_size": lambda: run([str(PROGRAMS / "released_size.py"), checkout, "--frames", "21"]),
    }
    what = "upstream's classes with the patch, and with their own Triton kernels"
    content: dict[str, Any] = {"command": f"python {Path(__file__).name} CHECKOUT GOLDEN FILE --device {device}"}
    for name, part in parts.items():
        content[name] = part()
        sys.stderr.write(f"{name}: {json.dumps(content[name])[:400]}\n")
        write_json(options.file, report(what, torch.device(device), content))
    raise SystemExit("failed" in json.dumps(content))


if __name__ == "__main__":
    main()
