"""`bench`: engines at full size beside stock ones, and the memory of whole runs; no weights needed."""

from __future__ import annotations

import json
import os

import typer

from sana_wm.cli.app import app

# The options are those of `sana_wm.bench`, whose benchmarks of one engine also run where pydantic is not installed.
PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command("bench", context_settings=PASSED_ON, add_help_option=False)
def bench(context: typer.Context) -> None:
    """Measure stages of full size on this machine. Needs no weights; `bench stage1 --help` lists the options."""
    from sana_wm.modules import run_module
    from sana_wm.planning.history import History

    said = run_module("sana_wm.bench", context.args, quiet=True)
    typer.echo(said, nl=False)
    if not {"-h", "--help"} & set(context.args):  # `sana-wm plan` goes by what was measured here
        History.of_this_user(os.environ).add_bench(json.loads(said))
