"""`status`: how a run is, from another terminal."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.manifest import AsJson

LOOK_EVERY_S = 1.0


@app.command("status")
def status(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A directory that run-pipeline made.")],
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look every second until the run is over.")] = False,
) -> None:
    """Say how far a run is. Stages, phase, step, time left, memory; takes no lock and disturbs nothing."""
    from sana_wm.cli.output import real_path
    from sana_wm.cli.progress_json import STANDARD_OUTPUT, JsonProgress
    from sana_wm.cli.progress_view import describe_end, describe_run, make_view
    from sana_wm.progress.status import StatusReader
    from sana_wm.runs.run_directory import RunDirectory

    reader = StatusReader(RunDirectory(real_path(run_dir)))
    snapshot = reader.look()
    if watch:
        lines = JsonProgress(STANDARD_OUTPUT) if as_json else None
        with make_view(sys.stdout) as view:
            show = lines or view
            while snapshot.state in ("running", "stopping"):
                show("progress", snapshot)
                time.sleep(LOOK_EVERY_S)
                snapshot = reader.look()
            show("run_ended", snapshot)
        if as_json:
            return
        if sys.stdout.isatty():  # the rest stands there already
            typer.echo("\n".join(describe_end(snapshot)))
            return
    if as_json:
        typer.echo(json.dumps(snapshot.as_json(), indent=2))
    else:
        typer.echo("\n".join([*describe_run(snapshot), *describe_end(snapshot)]))
