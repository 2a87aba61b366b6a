"""`python -m sana_wm.weights tiny|convert`: what needs torch, kept out of the command line's process."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from sana_wm.errors import SanaWMError, UsageError
from sana_wm.names import LAYOUTS, Variant
from sana_wm.printing import spell_out_output
from sana_wm.weights.streaming_checkpoint import convert_checkpoint
from sana_wm.weights.tiny import write_tiny_checkpoint


def main() -> int:
    """Write what is asked for and print what it is, as JSON; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sana_wm.weights", description=__doc__)
    commands = parser.add_subparsers(required=True)
    tiny = commands.add_parser("tiny")
    tiny.add_argument("--layout", choices=LAYOUTS, default="original")
    tiny.add_argument("--out", type=Path, required=True)
    tiny.add_argument("--variant", choices=get_args(Variant), default="bidirectional")
    tiny.add_argument("--seed", type=int, default=0)
    convert = commands.add_parser("convert")
    convert.add_argument("source", type=Path)
    convert.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    out = Path(arguments.out).resolve()
    try:
        if "source" in arguments:
            converted = convert_checkpoint(arguments.source, out)
            sys.stdout.write(json.dumps(asdict(converted), indent=2, default=str) + "\n")
            return 0
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(f"{out} is not empty", expected="a new or empty folder", next_step="Choose another --out.")
        checkpoint = write_tiny_checkpoint(out, arguments.layout, arguments.seed, arguments.variant)
    except SanaWMError as error:
        sys.stderr.write(f"sana-wm: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(checkpoint.as_manifest_section(), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    spell_out_output()
    sys.exit(main())
