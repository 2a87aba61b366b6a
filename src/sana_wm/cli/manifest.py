"""`validate-manifest`: everything that can be known of a run before it starts, without loading torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.colours import say_aside
from sana_wm.errors import SanaWMError, printable

if TYPE_CHECKING:
    from sana_wm.preflight.prospect import Prospect

ManifestPath = Annotated[Path, typer.Argument(metavar="MANIFEST", help="JSON manifest of the run.")]
#: Stands in for variables that name weights, where none are looked at.
WITHOUT_WEIGHTS = dict.fromkeys(("SANA_WM_MODEL_ROOT", "SANA_WM_STREAMING_ROOT", "SANA_GEMMA_2_2B_IT_ROOT"), "weights")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("validate-manifest")
def validate_manifest(
    manifest_path: ManifestPath,
    as_json: AsJson = False,
    show: Annotated[bool, typer.Option("--show", help="Print the manifest with every default.")] = False,
) -> None:
    """Check a manifest and all that it names. Inputs, weights, disk, memory: every problem at once."""
    from sana_wm.preflight.prospect import inspect

    prospect = inspect(manifest_path, os.environ)
    try:
        _, resolved, _ = prospect.require()
    except SanaWMError as error:
        if not as_json:
            raise
        typer.echo(json.dumps({"ok": False, "problems": [one.as_json() for one in prospect.problems]}, indent=2))
        raise typer.Exit(error.exit_code) from error
    if as_json:
        report = {"ok": True, "warnings": prospect.warnings, "manifest": resolved.model_dump(mode="json")}
        typer.echo(json.dumps(report, indent=2))
        return
    if show and prospect.manifest is not None:
        typer.echo(json.dumps(prospect.manifest.model_dump(mode="json"), indent=2, ensure_ascii=False))
    tell_remarks(prospect)
    typer.echo(printable(f"{manifest_path} is valid: {resolved.video.num_frames} frames, {resolved.name}"), err=show)


def tell_remarks(prospect: Prospect) -> None:
    """Say on standard error what runs and deserves a word."""
    from sana_wm.preflight.intrinsics import describe_estimate

    for warning in prospect.warnings:
        say_aside("warning", printable(warning))
    if prospect.stored is None and prospect.resolved is not None and prospect.resolved.intrinsics_estimate is not None:
        typer.echo(f"intrinsics: {describe_estimate(prospect.resolved.intrinsics_estimate)}", err=True)
