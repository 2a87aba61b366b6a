"""`extend`: a new run that goes on where a finished one ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.camera import MoveOption
from sana_wm.cli.finish import finish
from sana_wm.cli.manifest import AsJson
from sana_wm.cli.output import real_path
from sana_wm.cli.queue import ToQueue, queue_new_runs, refuse_beside_queue
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
from sana_wm.errors import printable


@app.command("extend")
def extend(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A finished run of the streaming model.")],
    *,
    action: Annotated[
        str | None, typer.Option("--action", help="Keys from the last frame on; left out: on as before.")
    ] = None,
    move: MoveOption = None,
    poses: Annotated[
        Path | None, typer.Option("--poses", help="Poses from the last frame on, whose pose comes first.")
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="What is seen from the first new chunk on.")] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.01, help="Of video to add; whole chunks, 1.5 s at 16 fps.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run directory; beside RUN_DIR if left out.")] = None,
    open_video: Open = False,
    to_queue: ToQueue = False,
    dry_run: DryRun = False,
    accept_numerics: AcceptNumerics = None,
    accept_over_cap: AcceptOverCap = False,
    as_json: AsJson = False,
    json_progress: JsonLines = False,
    json_progress_fd: JsonLinesTo = None,
) -> None:
    """Make a longer video of a finished one: only what is new is computed. The old run stays as it is."""
    from sana_wm.drafting.extension import Extension, write_extension
    from sana_wm.preflight.prospect import Choices, inspect
    from sana_wm.runs.run_directory import RunDirectory

    outlive_the_output()
    if to_queue:
        refuse_beside_queue(open=open_video, dry_run=dry_run, json_progress=json_progress or json_progress_fd)
    lines = open_json_progress(json_progress, json_progress_fd, as_json=as_json)
    new = write_extension(
        RunDirectory(real_path(run_dir)),
        Extension(action=action, move=move, poses=poses, prompt=prompt, seconds=seconds, out=out),
    )
    typer.echo(printable(f"run: {new.path}"), err=True)
    choices = Choices(accept_over_cap=accept_over_cap, accept_numerics=tuple(accept_numerics or ()))
    if to_queue:
        queue_new_runs([new], choices, as_json=as_json)
        return
    try:
        prospect = inspect(new.manifest_path, os.environ, choices)
        done = carry_out(prospect, lines, dry_run=dry_run, as_json=as_json)
    finally:
        new.discard_unstarted()
    if done is not None:
        finish(done, open_it=open_video)
