"""`demo`: all three stages on a tiny checkpoint, anywhere, in a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.run import run_pipeline


@app.command("demo")
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the demo's files.")] = Path("runs/demo"),
) -> None:
    """Run all three stages on a tiny random checkpoint. Makes it and a picture first, and names the MP4."""
    from sana_wm.drafting.demo import write_demo

    manifest_path = write_demo(out)
    run_pipeline(manifest_path, force=True)
    typer.echo(
        "These weights are tiny and random, so the video means nothing: it shows that every stage runs on this machine."
    )
