"""`validate-manifest`: everything that can be known of a run before it starts, without loading torch."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.errors import ProblemListError, printable

ManifestPath = Annotated[Path, typer.Argument(metavar="MANIFEST", help="JSON manifest of the run.")]
#: Stands in for variables that name weights, where none are looked at.
WITHOUT_WEIGHTS = {"SANA_WM_MODEL_ROOT": "weights", "SANA_GEMMA_2_2B_IT_ROOT": "weights"}
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("validate-manifest")
def validate_manifest(
    manifest_path: ManifestPath,
    as_json: AsJson = False,
    show: Annotated[bool, typer.Option("--show", help="Print the manifest with every default.")] = False,
) -> None:
    """Check a manifest and all that it names. Inputs, the weights' headers, the disk: every problem at once."""
    from sana_wm.launcher.intrinsics import describe_estimate
    from sana_wm.launcher.preflight import check_manifest, list_warnings
    from sana_wm.manifest.loading import load_manifest

    try:
        manifest = load_manifest(manifest_path, os.environ)
        resolved = check_manifest(manifest)
    except ProblemListError as error:
        if not as_json:
            raise
        typer.echo(json.dumps({"ok": False, "problems": [problem.as_json() for problem in error.problems]}, indent=2))
        raise typer.Exit(error.exit_code) from error
    warnings = list_warnings(resolved)
    if as_json:
        report = {"ok": True, "warnings": warnings, "manifest": resolved.model_dump(mode="json")}
        typer.echo(json.dumps(report, indent=2))
        return
    if show:
        typer.echo(manifest.model_dump_json(indent=2))
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    if resolved.intrinsics_estimate is not None:
        typer.echo(f"intrinsics: {describe_estimate(resolved.intrinsics_estimate)}", err=True)
    typer.echo(printable(f"{manifest_path} is valid: {manifest.video.num_frames} frames, {manifest.name}"), err=show)
