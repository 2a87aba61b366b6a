"""`status`: how a run is, from another terminal."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.colours import write_lines
from sana_wm.cli.manifest import AsJson
from sana_wm.errors import printable

if TYPE_CHECKING:
    from sana_wm.names import Stage
    from sana_wm.progress.snapshot import RunSnapshot
    from sana_wm.runs.run_directory import RunDirectory

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

    run = RunDirectory(real_path(run_dir))
    reader = StatusReader(run)
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
            write_lines([*describe_end(snapshot), *what_next(run, snapshot)], sys.stdout)
            return
    if as_json:
        typer.echo(json.dumps(snapshot.as_json(), indent=2))
    else:
        write_lines([*describe_run(snapshot), *describe_end(snapshot), *what_next(run, snapshot)], sys.stdout)


def what_next(run: RunDirectory, snapshot: RunSnapshot) -> list[str]:
    """What can be done about a run, as commands."""
    from sana_wm.cli.finish import next_commands
    from sana_wm.pipeline import PIPELINE
    from sana_wm.runs.lock import read_owner

    if snapshot.state == "finished":
        offers = next_commands(run.path, run.read_manifest())
        return [
            printable(f"{'' if place else 'next':<14}sana-wm {command:<40}  {what}")
            for place, (command, what) in enumerate(offers)
        ]
    done: list[Stage] = [one.stage for one in snapshot.stages if one.state in ("done", "skipped")]
    if snapshot.state == "stopped" and done and PIPELINE[done[-1]].looked_at_before is not None:
        return [printable(f"next          sana-wm refine {shlex.quote(str(run.path))}")]
    if snapshot.state not in ("running", "stopping"):
        return [printable(f"next          {run.resume_command}")]
    owner = read_owner(run)
    if owner is None or owner.is_elsewhere():
        return []
    stop = f"Ctrl-C there or kill -INT {owner.pid} stops it; then {run.resume_command} goes on"
    return [printable(f"in use        by {owner}"), printable(f"next          {stop}")]
