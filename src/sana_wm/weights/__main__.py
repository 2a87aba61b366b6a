"""`python -m sana_wm.weights tiny|convert|quantize`: what needs torch, kept out of the command line's process."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, get_args

from sana_wm.errors import SanaWMError, UsageError
from sana_wm.names import LAYOUTS, Variant
from sana_wm.printing import spell_out_output
from sana_wm.weights.int8 import int8_components
from sana_wm.weights.layout import WeightLayout, resolve_layout
from sana_wm.weights.quantizing import quantize_layout
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
    quantize = commands.add_parser("quantize")
    quantize.add_argument("places", type=json.loads, help="a manifest's model section, as JSON")
    arguments = parser.parse_args()
    try:
        if "places" in arguments:
            made = quantize_layout(_layout_of(arguments.places), say)
            sys.stdout.write("".join(f"{component.folder}\n" for component in int8_components(made)))
            return 0
        out = Path(arguments.out).resolve()
        if "source" in arguments:
            conversion, was_there = convert_checkpoint(arguments.source, out)
            sys.stdout.write(json.dumps({**conversion.model_dump(), "was_there": was_there}, indent=2) + "\n")
            return 0
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(f"{out} is not empty", expected="a new or empty folder", next_step="Choose another --out.")
        checkpoint = write_tiny_checkpoint(out, arguments.layout, arguments.seed, arguments.variant)
    except SanaWMError as error:
        sys.stderr.write(f"sana-wm: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(checkpoint.as_manifest_section(), indent=2) + "\n")
    return 0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _layout_of(section: dict[str, Any]) -> WeightLayout:
    roots = {name: Path(section[name]) if section[name] else None for name in ("gemma_root", "refiner_root")}
    return resolve_layout(section["layout"], Path(section["root"]), **roots, variant=section["variant"])


if __name__ == "__main__":
    spell_out_output()
    sys.exit(main())
