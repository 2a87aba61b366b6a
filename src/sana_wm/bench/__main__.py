"""`python -m sana_wm.bench WHAT`: needs no weights."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from sana_wm.bench.measure import write_json
from sana_wm.errors import SanaWMError
from sana_wm.printing import spell_out_output

BENCHES = ("stage1", "refiner", "decode", "memory", "int8")


def main(arguments: list[str]) -> int:
    """Run one benchmark, write its JSON and print it; returns the exit code."""
    names = argparse.ArgumentParser(prog="sana-wm bench", epilog="sana-wm bench WHAT --help lists its options")
    names.add_argument("what", choices=BENCHES)
    what = names.parse_args(arguments[:1]).what
    bench = importlib.import_module(f"sana_wm.bench.{what}")

    parser = argparse.ArgumentParser(
        prog=f"sana-wm bench {what}",
        description=bench.__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--device", default="auto", choices=("auto", "mps", "cuda", "cpu"), help="where to compute")
    bench.add_arguments(parser)
    parsed = parser.parse_args(arguments[1:])
    try:
        result = bench.run(parsed)
    except SanaWMError as error:
        sys.stderr.write(f"sana-wm: {error}\n")
        return error.exit_code
    if parsed.json is not None:
        write_json(parsed.json, result)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    spell_out_output()
    sys.exit(main(sys.argv[1:]))
