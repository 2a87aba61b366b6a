"""`camera moves`: the named moves that there are."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli.app import camera_app
from sana_wm.cli.manifest import AsJson

GRAMMAR = """
NAME:TIME@SPEED with commas between them, such as push-in:2s,pan-right:1.5s@0.5,hold:1s.
TIME is seconds (2s) or frames (32f), SPEED a factor of what stands above (left out: 1).
An orbit goes round a point 3 scene units ahead; orbit-left:4s:2u round one 2 ahead.
The key does the same in an action of dialect pr379; moves without one become poses."""


@camera_app.command("moves")
def moves(
    drawings: Annotated[
        Path | None, typer.Option("--drawings", metavar="FOLDER", help="Write a drawing of each there, NAME.svg.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say which moves --move takes, and what each does at its usual speed."""
    from sana_wm.camera.move_path import resolve_move
    from sana_wm.camera.moves import MOVES

    if drawings is not None:
        _write_drawings(drawings)
    elif as_json:
        typer.echo(json.dumps({name: asdict(kind) for name, kind in MOVES.items()}, indent=2))
    else:
        fps = 16
        for name, kind in MOVES.items():
            (move,) = resolve_move(f"{name}:1s", fps).moves
            speeds = [(move.step, "scene units a second"), (move.turn_deg, "degrees a second")]
            told = " and ".join(f"{amount * fps:.3g} {unit}" for amount, unit in speeds if amount)
            typer.echo(f"{name:<12} {kind.key or '-':<5} {kind.does:<40} {told}".rstrip())
        typer.echo(GRAMMAR)


def _write_drawings(folder: Path) -> None:
    from sana_wm.camera.move_drawing import draw_move
    from sana_wm.camera.moves import MOVES
    from sana_wm.durable import write_durably

    folder.mkdir(parents=True, exist_ok=True)
    for name in MOVES:
        write_durably(folder / f"{name}.svg", draw_move(name))
    typer.echo(f"{folder}: {len(MOVES)} drawings")
