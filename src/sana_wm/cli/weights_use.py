"""`weights use`: where commands shall look for weights that nothing else names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli.app import weights_app
from sana_wm.cli.manifest import AsJson
from sana_wm.cli.weights_choice import ALL_STAGES, OfVariant, Stages, parse_stages
from sana_wm.errors import IncompleteWeightsError, printable


@weights_app.command("use")
def use(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Filled by `weights download`, or the model's own; left out: say which."),
    ] = None,
    variant: OfVariant = None,
    stages: Stages = ALL_STAGES,
    as_json: AsJson = False,
) -> None:
    """Remember where the weights lie, for commands that find none by an option, a variable or in ./weights."""
    from sana_wm.weights.check import check_layout
    from sana_wm.weights.finding import download_command, recognise_weights, remember, remembered_folders, require_any

    if folder is not None:
        found = require_any(folder, variant)
        for places in found.values():
            if problems := check_layout(places.layout(), parse_stages(stages)):
                raise IncompleteWeightsError(
                    problems, f"Nothing was remembered. Complete the folder with: {download_command(folder, places)}"
                )
        remember(folder, tuple(found), os.environ)
        for one, places in found.items():
            typer.echo(printable(f"{one}: {places.root.absolute()}, layout {places.layout_name}"), err=True)
    known = remembered_folders(os.environ)
    if as_json:
        typer.echo(json.dumps({"folders": {one: str(path) for one, path in known.items()}}, indent=2))
        return
    for one, path in known.items():
        state = "" if recognise_weights(path, one) is not None else " (its weights are there no more)"
        typer.echo(printable(f"{one:<14} {path}{state}"))
    if not known:
        typer.echo("no folder is remembered; name one: sana-wm weights use DIR")
