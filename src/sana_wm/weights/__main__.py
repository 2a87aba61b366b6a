"""`python -m sana_wm.weights tiny|tiny-student|convert`: what needs torch, kept out of the command line's process."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sana_wm.errors import SanaWMError, UsageError
from sana_wm.weights.streaming_checkpoint import convert_checkpoint
from sana_wm.weights.tiny import write_tiny_checkpoint
from sana_wm.weights.tiny_streaming import write_tiny_student


def main() -> int:
    """Write what is asked for and print what it is, as JSON; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sana_wm.weights", description=__doc__)
    commands = parser.add_subparsers(required=True)
    tiny = commands.add_parser("tiny")
    tiny.add_argument("--layout", choices=("original", "diffusers"), default="original")
    tiny.add_argument("--out", type=Path, required=True)
    tiny.add_argument("--seed", type=int, default=0)
    student = commands.add_parser("tiny-student")
    student.add_argument("--out", type=Path, required=True)
    student.add_argument("--seed", type=int, default=0)
    convert = commands.add_parser("convert")
    convert.add_argument("source", type=Path)
    convert.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    out = Path(arguments.out).resolve()
    try:
        if "source" in arguments:
            conversion, was_there = convert_checkpoint(arguments.source, out)
            sys.stdout.write(json.dumps({**conversion.model_dump(), "was_there": was_there}, indent=2) + "\n")
            return 0
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(f"{out} is not empty", expected="a new or empty folder", next_step="Choose another --out.")
        if "layout" not in arguments:
            write_tiny_student(out, seed=arguments.seed)
            return 0
        checkpoint = write_tiny_checkpoint(out, arguments.layout, seed=arguments.seed)
    except SanaWMError as error:
        sys.stderr.write(f"sana-wm: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(checkpoint.as_manifest_section(), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
