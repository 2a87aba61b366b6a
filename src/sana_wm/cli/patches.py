"""`patches list`: what is computed by our code instead of a library's, and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from textwrap import fill

import typer

from sana_wm.cli.app import patches_app
from sana_wm.cli.manifest import AsJson


@patches_app.command("list")
def list_patches(as_json: AsJson = False) -> None:
    """Print the catalogue of replacements: what, why, what proves it equal, when it can go."""
    from sana_wm.patches.catalogue import load_catalogue

    patches = load_catalogue().values()
    if as_json:
        typer.echo(json.dumps([asdict(patch) for patch in patches], indent=2))
        return
    for patch in patches:
        typer.echo(f"{patch.id}  ({patch.library})")
        for symbol in patch.replaces:
            typer.echo(f"  replaces     {symbol}")
        typer.echo(fill(patch.why, 110, initial_indent="  why          ", subsequent_indent=" " * 15))
        for name in patch.replaced_by:
            typer.echo(f"  replaced by  {name}")
        for test in patch.proven_by:
            typer.echo(f"  proven by    {test}")
        typer.echo(f"  drop when    {patch.drop_when}\n")
