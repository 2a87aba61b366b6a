"""`studio`: the page."""

from __future__ import annotations

import contextlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.queue import Runs
from sana_wm.cli.runs import RUNS_FOLDER
from sana_wm.errors import UsageError


@app.command("studio")
def studio(
    runs: Runs = RUNS_FOLDER,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="On this machine only; 0: a free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address, open no browser.")] = False,
) -> None:
    """Show runs and the queue on a page of this machine, make videos there. Runs go on when the page is closed."""
    if find_spec("nicegui") is None:
        raise UsageError(
            "the page's library is not installed",
            got="no package nicegui",
            expected="sana-wm with its extra `studio`",
            next_step="Install it: pip install 'sana-wm[studio]'",
        )
    from sana_wm.cli.output import real_path
    from sana_wm.studio.server import serve

    def tell(address: str) -> None:
        typer.echo(f"studio: {address}")
        typer.echo("Ctrl-C ends the page, and no run.", err=True)
        if not no_open:
            typer.launch(address)

    with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end: nothing was interrupted
        serve(real_path(Path(runs)), os.environ, port, tell)
