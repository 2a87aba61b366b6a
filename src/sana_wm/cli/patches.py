"""`patches`: what our code computes instead of a library's; the patch that lets NVIDIA's own script run on MPS."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import patches_app
from sana_wm.cli.manifest import AsJson
from sana_wm.errors import UsageError

if TYPE_CHECKING:
    from sana_wm.replacements.checkout import CheckoutReport


@patches_app.command("list")
def list_patches(as_json: AsJson = False) -> None:
    """Print the catalogue of replacements: what, why, what proves it equal, when it can go."""
    from sana_wm.replacements.catalogue import load_catalogue
    from sana_wm.replacements.upstream_catalogue import UpstreamPatch, load_upstream_catalogue

    patches = [*load_catalogue().values(), *load_upstream_catalogue().values()]
    if as_json:
        typer.echo(json.dumps([asdict(patch) for patch in patches], indent=2))
        return
    for patch in patches:
        typer.echo(f"{patch.id}  ({patch.library})")
        for symbol in patch.replaces:
            typer.echo(f"  replaces     {symbol}")
        for point in patch.patch_points if isinstance(patch, UpstreamPatch) else ():
            typer.echo(f"  patch point  {point}")
        typer.echo(fill(patch.why, 110, initial_indent="  why          ", subsequent_indent=" " * 15))
        for name in patch.replaced_by:
            typer.echo(f"  replaced by  {name}")
        for test in patch.proven_by:
            typer.echo(f"  proven by    {test}")
        typer.echo(f"  drop when    {patch.drop_when}\n")


@patches_app.command("apply")
def apply(
    to: Annotated[Path, typer.Option("--checkout", metavar="DIR", help="Root of a git checkout of NVlabs/Sana.")],
    check: Annotated[bool, typer.Option("--check", help="Only say what the checkout is and what is in it.")] = False,
    revert: Annotated[bool, typer.Option("--revert", help="Remove what an earlier apply created.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add the folder sana_wm_mps to a checkout of NVlabs/Sana; no file of upstream's is touched."""
    from sana_wm.replacements.checkout import apply_patch, inspect_checkout, revert_patch

    if check and revert:
        raise UsageError("--check changes nothing and --revert does", expected="one of the two")
    report = (inspect_checkout if check else revert_patch if revert else apply_patch)(to)
    typer.echo(json.dumps(report.as_json(), indent=2) if as_json else _describe(report))
    if report.state == "other":
        raise typer.Exit(UsageError.exit_code)


def _describe(report: CheckoutReport) -> str:
    tested = f"tested: {report.tested_as}" if report.tested_as else "NOT tested with this release"
    patch = {
        "absent": "not applied",
        "applied": "applied",
        "other": f"another version of it is here: {', '.join(report.differing) or 'more files or fewer'}",
    }[report.state]
    rows = {
        "checkout": report.root,
        "commit": f"{report.commit} ({tested})",
        "changed": ", ".join(report.changed) or "no file of upstream's",
        "patch": patch,
    }
    if report.unknown_sources:
        rows["differs"] = f"other code than the patch was made for: {', '.join(report.unknown_sources)}"
    return "\n".join(f"{name:<9} {value}" for name, value in rows.items())
