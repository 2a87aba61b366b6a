"""`verify`: is a run directory what it says, from its manifest to its video?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import app
from sana_wm.cli.manifest import AsJson
from sana_wm.errors import HandoffError, printable

if TYPE_CHECKING:
    from sana_wm.runs.chain import Link


@app.command("verify")
def verify_run(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A directory that run-pipeline made.")],
    hash_weights: Annotated[
        bool,
        typer.Option("--hash-weights", help="Hash all weights in full, too: recorded first, held against that later."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say whether a run is what it says. Walks its hash chain; names every broken link and what that invalidates."""
    from sana_wm.cli.output import real_path
    from sana_wm.runs.run_directory import RunDirectory
    from sana_wm.runs.verify import verify

    run = RunDirectory(real_path(run_dir))
    links = verify(run)
    if hash_weights and all(link.is_whole for link in links):
        from sana_wm.runs.lock import owning
        from sana_wm.runs.weight_hashes import verify_weight_hashes

        with owning(run):
            links += verify_weight_hashes(run, run.read_manifest())
    whole = all(link.is_whole for link in links)
    if as_json:
        typer.echo(json.dumps({"ok": whole, "links": [link.as_json() for link in links]}, indent=2))
        if not whole:
            raise typer.Exit(HandoffError.exit_code)
        return
    for link in links:
        typer.echo(printable(_describe(link)))
    broken = [link for link in links if link.state == "broken"]
    if broken:
        raise HandoffError(
            f"{run.path} is not what it says",
            got=f"{len(broken)} broken link{'s' if len(broken) > 1 else ''}, the first: {broken[0].name}",
            next_step=f"{run.resume_command} makes again what cannot be trusted.",
        )
    if not whole:
        raise HandoffError(
            f"{run.path} is not finished; what is there is whole",
            got=f"no {', no '.join(link.name for link in links if not link.is_whole)}",
            next_step=f"Go on with: {run.resume_command}",
        )


#: The states of a link, for people.
WORDS = {
    "holds": "ok",
    "broken": "BROKEN",
    "unfinished": "to come",
    "unchecked": "unchecked",
    "noted": "differs",
    "pruned": "pruned",
}


def _describe(link: Link) -> str:
    invalidates = f"; invalidates {', '.join(link.invalidates)}" if link.invalidates else ""
    return f"{link.name:<20} {WORDS[link.state]:<9} {link.detail}{invalidates}".rstrip()
