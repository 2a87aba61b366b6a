"""`run`: one command from a picture to a video."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.colours import say_aside
from sana_wm.cli.manifest import AsJson
from sana_wm.cli.queue import ToQueue, queue_new_runs, refuse_beside_queue
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
from sana_wm.cli.video_options import takes_video_request
from sana_wm.drafting.request import VideoRequest
from sana_wm.errors import IncompleteWeightsError, printable

if TYPE_CHECKING:
    from sana_wm.preflight.prospect import Prospect

Look = Annotated[
    bool, typer.Option("--look", help="Stop after the preview, before the refiner's minutes; refine RUN goes on.")
]
Open = Annotated[bool, typer.Option("--open", help="Open the video at the end, in the system's player.")]


@app.command("run", epilog='For example: sana-wm run room.jpg --prompt "A quiet room." --move push-in:3s --fov-deg 70')
@takes_video_request()
def run(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="The first frame.")],
    *,
    look: Look = False,
    open_video: Open = False,
    to_queue: ToQueue = False,
    dry_run: DryRun = False,
    accept_numerics: AcceptNumerics = None,
    accept_over_cap: AcceptOverCap = False,
    as_json: AsJson = False,
    json_progress: JsonLines = False,
    json_progress_fd: JsonLinesTo = None,
    said: VideoRequest,
) -> None:
    """Make a video of a picture. Finds the weights, names the run, checks everything, runs it, says what comes next."""
    from sana_wm.cli.finish import finish, show_preview
    from sana_wm.drafting.new_run import write_new_run
    from sana_wm.preflight.prospect import Choices, inspect

    outlive_the_output()
    if to_queue:
        refuse_beside_queue(open=open_video, dry_run=dry_run, json_progress=json_progress or json_progress_fd)
    lines = open_json_progress(json_progress, json_progress_fd, as_json=as_json)
    new = write_new_run(replace(said, image=picture), os.environ)
    for note in new.notes:
        say_aside("note", printable(note))
    choices = Choices(
        stop_after="preview" if look else None,
        accept_over_cap=accept_over_cap,
        accept_numerics=tuple(accept_numerics or ()),
    )
    if to_queue:
        queue_new_runs([new], choices, as_json=as_json)
        return
    try:
        prospect = inspect(new.manifest_path, os.environ, choices)
        _require_whole_weights(prospect, said)
        typer.echo(printable(f"run: {new.path}"), err=True)
        done = carry_out(prospect, lines, dry_run=dry_run, as_json=as_json)
    finally:
        new.discard_unstarted()
    if done is not None:
        finish(done, open_it=open_video)
    elif look and not dry_run:
        show_preview(new.path, open_it=open_video)


def _require_whole_weights(prospect: Prospect, said: VideoRequest) -> None:
    """Say of weights that are not whole how they are completed, where a download began them."""
    from sana_wm.weights.finding import download_command, find_weights
    from sana_wm.weights.places import places_of

    missing = [error for error in prospect.errors if isinstance(error, IncompleteWeightsError)]
    if not missing or prospect.manifest is None:
        return
    folder = find_weights(prospect.manifest.model.variant, said.roots, os.environ).folder
    command = download_command(folder, places_of(prospect.manifest))
    raise IncompleteWeightsError(missing[0].problems, f"What is missing comes with: {command}")
