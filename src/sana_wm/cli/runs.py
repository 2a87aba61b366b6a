"""`runs`: which runs are there; removing and pruning them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sana_wm.cli.app import runs_app
from sana_wm.cli.asking import Yes, require_yes
from sana_wm.cli.colours import write_coloured
from sana_wm.cli.manifest import AsJson

if TYPE_CHECKING:
    from sana_wm.catalogue.entry import Entry

#: Where new runs go if nothing else is said.
RUNS_FOLDER = Path("runs")
RunDirs = Annotated[list[Path], typer.Argument(metavar="RUN…", help="Run directories.")]


@runs_app.command("list")
def list_runs(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Of runs.", show_default=True)] = RUNS_FOLDER,
    tree: Annotated[bool, typer.Option("--tree", help="Each run beneath the one that it was made from.")] = False,
    skipped: Annotated[bool, typer.Option("--skipped", help="Say which folders are no runs, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the runs of a folder. State, length, size, settings, thumbnail, and what each was made from."""
    from sana_wm.catalogue.folder import read_catalogue
    from sana_wm.cli.output import real_path
    from sana_wm.cli.runs_text import describe_catalogue
    from sana_wm.runs.inventory import disk_bytes

    catalogue = read_catalogue(real_path(folder))
    if as_json:
        said = {
            "folder": str(catalogue.folder),
            "runs": [entry.as_json() for entry in catalogue.entries],
            "size_bytes": disk_bytes(file for entry in catalogue.entries for file in entry.files),
            "skipped": [{"path": str(one.path), "why": one.why} for one in catalogue.skipped],
        }
        typer.echo(json.dumps(said, indent=2))
        return
    write_coloured(describe_catalogue(catalogue, tree=tree, skipped=skipped), sys.stdout)


@runs_app.command("rm")
def remove(runs: RunDirs, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove runs. Says what goes, what stays and which runs were made from them; asks; never a run in use."""
    from sana_wm.catalogue.removal import entries_of, freed_by, plan_removal, remove_run
    from sana_wm.cli.output import real_path
    from sana_wm.cli.runs_text import describe_removal, question_of

    plans = plan_removal(entries_of([real_path(path) for path in runs]))
    typer.echo("\n".join(line for plan in plans for line in describe_removal(plan)), err=as_json)
    require_yes(question_of("Remove", plans), yes=yes)
    freed_bytes = freed_by(plans)
    stayed = {str(plan.entry.path): [str(path) for path in remove_run(plan.entry.run)] for plan in plans}
    if as_json:
        typer.echo(json.dumps({"removed": list(stayed), "stayed": stayed, "freed_bytes": freed_bytes}, indent=2))
        return
    for plan in plans:
        rest = len(stayed[str(plan.entry.path)])
        typer.echo(f"{plan.entry.path}: removed{f', but for {rest} that nobody here made' if rest else ''}")


@runs_app.command("prune")
def prune(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN…]", help="Finished runs; all of ./runs when left out.")
    ] = None,
    latents: Annotated[
        bool, typer.Option("--latents", help="Take latents and embeddings, too: what other runs begin with.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take from finished runs what their videos do not need. Says the sizes and what that costs; asks."""
    from sana_wm.catalogue.pruning import plan_pruning, prune_run
    from sana_wm.catalogue.removal import freed_by
    from sana_wm.cli.runs_text import COSTS, describe_pruning, question_of

    plans = plan_pruning(_finished(runs), latents=latents)
    freed_bytes = freed_by(plans)
    if plans:
        lines = [line for plan in plans for line in describe_pruning(plan)]
        typer.echo("\n".join([*lines, COSTS[latents]]), err=as_json)
        require_yes(question_of("Prune", plans), yes=yes)
    for plan in plans:
        prune_run(plan.entry.run, latents=latents)
    if as_json:
        pruned = {str(plan.entry.path): [file.name for file in plan.files] for plan in plans}
        typer.echo(json.dumps({"pruned": pruned, "freed_bytes": freed_bytes}, indent=2))
    elif not plans:
        typer.echo("nothing to prune" if latents else "nothing to prune; --latents takes latents and embeddings, too")


def _finished(runs: list[Path] | None) -> list[Entry]:
    """The runs that were named, or the finished ones of ./runs."""
    from sana_wm.catalogue.folder import read_catalogue
    from sana_wm.catalogue.removal import entries_of
    from sana_wm.cli.output import real_path

    if runs:
        return entries_of([real_path(path) for path in runs])
    return [entry for entry in read_catalogue(real_path(RUNS_FOLDER)).entries if entry.state == "finished"]
