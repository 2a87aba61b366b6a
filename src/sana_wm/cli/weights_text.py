"""What the `weights` commands say: the plan of a download, the inventory, the verdict on each file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from sana_wm.cli.transfer_view import OpenTransferView
from sana_wm.errors import printable
from sana_wm.figures import format_bytes, format_seconds
from sana_wm.names import STAGES, Stage, Variant
from sana_wm.variants import MODELS
from sana_wm.weights.download import DownloadPlan
from sana_wm.weights.facts import model_facts, published_bytes
from sana_wm.weights.inventory import InventoryRow
from sana_wm.weights.places import WeightPlaces
from sana_wm.weights.verification import FileReport

#: 100 Mbit/s: a line that many homes have, and easy to go on from to one's own.
EXAMPLE_BYTES_PER_S = 100_000_000 // 8
#: Enough for a video without the refiner.
DRAFT_STAGES: tuple[Stage, ...] = ("stage1", "vae_decode")


def say_plan(plan: DownloadPlan, view: OpenTransferView) -> None:
    """What is here, what will come, what is left out and why."""
    missing = [file for file in plan.files if file.sha256 is None]
    here = len(plan.files) - len(missing)
    for repo_id, folder in dict.fromkeys((file.repository.repo_id, file.folder) for file in plan.files):
        view.say(f"{repo_id} -> {folder}")
    at_rate = f", about {format_seconds(plan.missing_bytes / EXAMPLE_BYTES_PER_S)} at 100 Mbit/s"
    is_long = plan.missing_bytes > EXAMPLE_BYTES_PER_S
    fetched = f"{format_bytes(plan.missing_bytes)} to fetch{at_rate if is_long else ''}"
    view.say(f"{here} of {len(plan.files)} files are here; {fetched}")
    for file in missing:
        if file.twin is not None:
            size = format_bytes(file.remote.size_bytes)
            view.say(
                f"{file.remote.name}, {size}: its bytes are here as {file.twin}, and are linked instead of fetched"
            )
    if plan.conversion_bytes:
        view.say(f"the student is converted once, in at most {format_bytes(plan.conversion_bytes)} more")
    for why in dict.fromkeys(file.why for file in plan.skipped):
        alike = [file for file in plan.skipped if file.why == why]
        saved = format_bytes(sum(file.size_bytes for file in alike))
        view.say(f"left out, {saved}: {', '.join(file.name for file in alike)} ({why})")


def describe_plan(places: WeightPlaces, plan: DownloadPlan, *, dry_run: bool) -> dict[str, Any]:
    """A download for `--json`."""
    return {
        "ok": True,
        "dry_run": dry_run,
        "model": places.as_manifest_section(),
        "missing_bytes" if dry_run else "fetched_bytes": plan.missing_bytes,
        "files": [
            {
                "repo_id": file.repository.repo_id,
                "commit": file.repository.commit,
                "name": file.remote.name,
                "path": str(file.destination),
                "size_bytes": file.remote.size_bytes,
                "was_here": file.sha256 is not None,
                "twin": file.twin and str(file.twin),
            }
            for file in plan.files
        ],
        "conversion_bytes": plan.conversion_bytes,
        "skipped_bytes": plan.skipped_bytes,
        "skipped": [asdict(file) for file in plan.skipped],
    }


def print_rows(rows: list[InventoryRow], stages: tuple[Stage, ...]) -> None:
    """The inventory by repository, and the sum of each stage."""
    repo_id = ""
    for row in rows:
        if row.repo_id != repo_id:
            repo_id = row.repo_id
            typer.echo(printable(f"{repo_id} -> {row.folder}\n  licence: {row.licence}"))
        size = f"{'~' if row.is_estimate else ''}{format_bytes(row.needed_bytes)}"
        found = [format_bytes(row.here_bytes)] if row.here_bytes else []
        if row.partial_bytes:
            found.append(f"{format_bytes(row.partial_bytes)} of files that are not whole")
        here = f" ({', '.join(found)})" if found else ""
        typer.echo(f"  {row.pattern:<36} {size:>11}  {row.state}{here}  [{', '.join(row.stages)}]")
        if row.note:
            typer.echo(f"  {'':<36} {row.note}")
    for stage in stages:
        of_stage = [row for row in rows if stage in row.stages]
        needed, here = (sum(getattr(row, name) for row in of_stage) for name in ("needed_bytes", "here_bytes"))
        typer.echo(f"{stage}: {format_bytes(needed)}, of which {format_bytes(here)} are here")


def print_layouts(variant: Variant) -> None:
    """Every layout of a model beside each other: how large it is, from where, under which licences."""
    typer.echo(f"\nlayouts of the {MODELS[variant].title}, to choose with --layout:")
    for layout, repositories in model_facts().layouts[variant].items():
        usual = ", the default" if layout == MODELS[variant].layout else ""
        whole, drafts = (format_bytes(published_bytes(variant, layout, stages)) for stages in (STAGES, DRAFT_STAGES))
        typer.echo(f"  {layout}{usual}: about {whole}, for drafts alone {drafts}")
        for one in repositories:
            size = format_bytes(sum(file.approximate_bytes for file in one.files))
            typer.echo(printable(f"    {one.repo_id}, {size}, licence: {one.licence}"))


def print_reports(reports: list[FileReport]) -> None:
    """One line for each file: `ok` only of one whose every byte is known to be the hub's."""
    for report in reports:
        verdict = "BAD" if report.problems else "ok " if report.is_proven else "-- "
        size = format_bytes(report.size_bytes)
        typer.echo(printable(f"{verdict} {size:>11}  {report.path}: {_describe_proof(report)}"))
    unproven = [report for report in reports if not report.is_proven and not report.problems]
    if unproven:
        typer.echo(f"{len(unproven)} of {len(reports)} files are not proven: a flipped bit in them would not be seen")
    if any(report.sha256 == "unknown" for report in unproven):
        typer.echo("`sana-wm weights download` asks the hub for unknown hashes; it fetches nothing that is right.")


def _describe_proof(report: FileReport) -> str:
    whose = "what was written" if report.written_here else "the hub's"
    kinds = {
        "right": f"every byte is {whose}, by {report.source}",
        "unknown": "its hash is not known here",
        "unchecked": "its hash was not checked",
        "wrong": f"its hash is not {whose}, by {report.source}",
    }
    seen = {"size": "size", "header": "header", "samples": "a sample of each tensor", "parsed": "read to its end"}
    if report.problems or report.is_proven:
        return kinds[report.sha256]
    return f"{kinds[report.sha256]}; looked at: {', '.join(seen[name] for name in report.checked)}"
