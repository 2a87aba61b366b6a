"""`bench`: full-size random weights, ours and stock in one process."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import typer

from sana_wm.cli.app import app

# The options are those of `sana_wm.bench`, which must also run where neither Typer nor pydantic is installed.
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command("bench", context_settings=PASSED_ON, add_help_option=False)
def bench(context: typer.Context) -> None:
    """Measure stage1, refiner or decode on this machine, without weights; `bench stage1 --help` lists the options."""
    from sana_wm.launcher.history import History
    from sana_wm.launcher.process import run_module

    arguments = list(context.args)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(arguments[arguments.index("--json") + 1]) if "--json" in arguments[:-1] else None
        if file is None and "--help" not in arguments:
            file = Path(folder) / "bench.json"
            arguments += ["--json", str(file)]
        run_module("sana_wm.bench", arguments)
        if file is not None:  # `sana-wm plan` goes by what was measured here
            History.of_this_user(os.environ).add_bench(json.loads(file.read_text(encoding="utf-8")))
