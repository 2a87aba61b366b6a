"""`refine`: goes on with a run that was looked at."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.finish import finish
from sana_wm.cli.manifest import AsJson
from sana_wm.cli.run import Open
from sana_wm.cli.run_pipeline import (
    AcceptNumerics,
    AcceptOverCap,
    DryRun,
    JsonLines,
    JsonLinesTo,
    carry_out,
    open_json_progress,
)
from sana_wm.cli.surroundings import outlive_the_output
from sana_wm.errors import UsageError


@app.command("refine")
def refine(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run that was looked at, with its refiner to come.")],
    *,
    open_video: Open = False,
    dry_run: DryRun = False,
    accept_numerics: AcceptNumerics = None,
    accept_over_cap: AcceptOverCap = False,
    as_json: AsJson = False,
    json_progress: JsonLines = False,
    json_progress_fd: JsonLinesTo = None,
) -> None:
    """Refine what was looked at. What is done is kept; the refiner and the decode are to come."""
    from sana_wm.cli.output import real_path
    from sana_wm.preflight.prospect import Choices, inspect_run
    from sana_wm.runs.run_directory import RunDirectory

    outlive_the_output()
    lines = open_json_progress(json_progress, json_progress_fd, as_json=as_json)
    run = RunDirectory(real_path(run_dir))
    if not run.read_manifest().refiner.enabled:
        raise UsageError(
            f"{run.path} is a draft: its manifest has no refiner",
            got="refiner.enabled false",
            expected="a run whose refiner is to come",
            next_step=f"Make a refined video of it, as a new run: sana-wm promote {shlex.quote(str(run.path))}",
        )
    choices = Choices(accept_over_cap=accept_over_cap, accept_numerics=tuple(accept_numerics or ()))
    done = carry_out(inspect_run(run, os.environ, choices), lines, dry_run=dry_run, as_json=as_json)
    if done is not None:
        finish(done, open_it=open_video)
