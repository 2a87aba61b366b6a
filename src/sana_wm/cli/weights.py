"""`weights tiny`: a checkpoint with every part at tiny size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli.app import weights_app


@weights_app.command("tiny")
def tiny(
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must be new or empty.")],
    layout: Annotated[str, typer.Option("--layout", help="original or diffusers.")] = "original",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random weights.")] = 0,
) -> None:
    """Write a tiny checkpoint with random weights: it runs everywhere and makes a meaningless video."""
    from sana_wm.launcher.process import run_module

    run_module("sana_wm.weights", ["tiny", "--layout", layout, "--out", str(out), "--seed", str(seed)])
