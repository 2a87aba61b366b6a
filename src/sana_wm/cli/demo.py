"""`demo`: all stages of both models on tiny checkpoints, anywhere, in minutes; then one page of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.run_pipeline import run_pipeline
from sana_wm.cli.surroundings import why_no_window
from sana_wm.errors import printable
from sana_wm.names import VARIANTS, Variant


@app.command("demo")
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the demo's files.")] = Path("runs/demo"),
    variant: Annotated[
        Variant | None, typer.Option("--variant", help="One of the released models alone; both when left out.")
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page at the end; never in CI or without a display.")
    ] = True,
) -> None:
    """Run all stages on tiny random checkpoints, and show it on a page. Makes them and a picture first."""
    from sana_wm.drafting.demo import commands_after, write_demo, write_demo_preview
    from sana_wm.report.demo import Demo, write_demo_page
    from sana_wm.report.facts import gather_run_facts
    from sana_wm.runs.run_directory import RunDirectory

    runs: list[RunDirectory] = []
    for one in VARIANTS if variant is None else (variant,):
        manifest_path = write_demo(out, one)
        run_pipeline(manifest_path, force=True)
        runs.append(RunDirectory(manifest_path.with_suffix("")))
    manifest, folder = runs[0].read_manifest(), out.resolve()
    commands = commands_after(out)
    shown = Demo(write_demo_preview(folder, manifest), tuple(gather_run_facts(run) for run in runs), commands)
    page = folder / "demo.html"
    write_demo_page(page, shown)
    typer.echo(
        "These weights are tiny and random, so the video means nothing: it shows that every stage runs on this machine."
    )
    typer.echo(printable(f"page: {page}"))
    typer.echo("next:")
    for command, what in commands:
        typer.echo(printable(f"  {command}\n      {what}"))
    if open_page:
        _open(page)


def _open(page: Path) -> None:
    why_not = why_no_window() or (f"no program of this system opens {page}" if typer.launch(str(page)) != 0 else None)
    if why_not is not None:
        typer.echo(printable(f"not opened: {why_not}"), err=True)
