"""`demo`: all stages on a tiny checkpoint, anywhere, in a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.run_pipeline import run_pipeline
from sana_wm.names import Variant


@app.command("demo")
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the demo's files.")] = Path("runs/demo"),
    variant: Annotated[
        Variant, typer.Option("--variant", help="Which released model: 60 steps for all, or 4 for each chunk.")
    ] = "bidirectional",
) -> None:
    """Run all stages on a tiny random checkpoint. Makes it and a picture first, and names the MP4."""
    from sana_wm.drafting.demo import write_demo

    manifest_path = write_demo(out, variant)
    run_pipeline(manifest_path, force=True)
    typer.echo(
        "These weights are tiny and random, so the video means nothing: it shows that every stage runs on this machine."
    )
