"""What the `runs` commands say."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sana_wm.catalogue.entry import Entry, State, describe_settings
from sana_wm.catalogue.folder import Catalogue
from sana_wm.catalogue.lineage import Limb, as_tree
from sana_wm.catalogue.removal import Going, freed_by
from sana_wm.errors import printable
from sana_wm.figures import format_bytes, format_seconds
from sana_wm.runs.inventory import Kind, RunFile, disk_bytes

#: Kinds of files as people read them, in the order of what they are worth.
WORDS: dict[Kind, str] = {
    "result": "video and pictures",
    "latents": "latents and embeddings",
    "state": "state of the last chunk",
    "leftover": "leftovers",
    "record": "records",
}
#: What is as it should be has the terminal's own colour.
STATE_COLOURS: Mapping[State, str] = {
    "running": "cyan",
    "unfinished": "yellow",
    "damaged": "red",
    "unreadable": "red",
}
#: What pruning costs, by whether latents go.
COSTS = {
    False: "The videos stay, and so does all that vary, branch and extend begin with; extend makes again what the last "
    "chunk left.",
    True: "The videos stay. These runs can no longer be branched or extended; vary and promote begin anew; verify no "
    "longer holds the video against its latents, and says so. resume --from stage1 makes the latents again.",
}


def describe_catalogue(catalogue: Catalogue, *, tree: bool, skipped: bool) -> list[tuple[str, str | None]]:
    """The list, or the tree, and what it takes in all: lines, each with its colour."""
    entries = catalogue.entries
    limbs = as_tree(entries) if tree else [Limb(entry, "", "") for entry in entries]
    width = max((len(limb.lead) + len(_shown(limb.entry.path, catalogue.folder)) for limb in limbs), default=0)
    lines = [line for limb in limbs for line in _describe(limb, catalogue.folder, width)]
    total = format_bytes(disk_bytes(file for entry in entries for file in entry.files))
    rest = [f"{_count(entries)}, {total}" if entries else f"no run in {catalogue.folder}"]
    if skipped:
        rest += [f"skipped: {_shown(one.path, catalogue.folder)} ({one.why})" for one in catalogue.skipped]
    elif catalogue.skipped:
        count = len(catalogue.skipped)
        rest.append(f"{count} other folder{'s are no runs' if count > 1 else ' is no run'}: --skipped names them")
    return [(printable(line), colour) for line, colour in [*lines, *((line, None) for line in rest)]]


def _describe(limb: Limb, folder: Path, width: int) -> Iterator[tuple[str, str | None]]:
    """A run: what it is in a line of its state's colour, then where its picture lies and what it was made from."""
    entry, manifest = limb.entry, limb.entry.manifest
    name = f"{limb.lead}{_shown(entry.path, folder)}".ljust(width)
    length = "" if entry.seconds is None else f"{entry.seconds:.1f} s"
    took = "" if (elapsed_s := entry.elapsed_s) is None else f" in {format_seconds(elapsed_s)}"
    size = format_bytes(entry.size_bytes)
    yield f"{name}  {length:>7}  {size:>9}  {entry.state_words}{took}", STATE_COLOURS.get(entry.state)
    margin = f"{limb.margin}    "
    if manifest is not None:
        yield f"{margin}{manifest.name}: {describe_settings(manifest)}", None
        if manifest.made_from is not None:
            made_from = manifest.made_from
            place = _shown(Path(made_from.run), folder) + ("" if made_from.frame is None else f"@{made_from.frame}")
            changed = f"; changed: {', '.join(made_from.changed)}" if made_from.changed else ""
            yield f"{margin}made from {place} by {made_from.verb}{changed}", None
    if entry.thumbnail is not None:
        yield f"{margin}{os.path.relpath(entry.thumbnail)}", None


def describe_removal(plan: Going) -> list[str]:
    """What goes with a run, what stays, and who was made from it or still reads it."""
    entry = plan.entry
    length = "" if entry.seconds is None else f"{entry.seconds:.1f} s, "
    lines = [f"{entry.path}: {entry.state_words}, {length}{format_bytes(disk_bytes(plan.files))} goes"]
    lines += [f"  {line}" for line in _by_kind(plan.files)]
    lines += [f"  stays beside it: {path}" for path in plan.beside]
    lines += [f"  stays, not ours: {file.name} ({format_bytes(file.size_bytes)})" for file in plan.foreign]
    lines += [f"  made from it, and stays whole: {child.path}" for child in plan.children]
    lines += _describe_readers(plan)
    return [printable(line) for line in lines]


def describe_pruning(plan: Going) -> list[str]:
    """What a finished run loses."""
    lines = [f"{plan.entry.path}: {format_bytes(disk_bytes(plan.files))} of {format_bytes(plan.entry.size_bytes)} goes"]
    lines += [f"  {line}" for line in _by_kind(plan.files)]
    lines += _describe_readers(plan)
    return [printable(line) for line in lines]


def question_of(verb: str, plans: Sequence[Going]) -> str:
    """What a user is asked."""
    runs = _count([plan.entry for plan in plans])
    return printable(f"{verb} {runs}, which frees {format_bytes(freed_by(plans))}?")


def _describe_readers(plan: Going) -> list[str]:
    runs = [f"  reads files of it, is not finished, and cannot go on without: {one.path}" for one in plan.readers]
    return [*runs, *(f"  job {job.number} of the queue, {job.state}, names it: {job.name}" for job in plan.jobs)]


def _by_kind(files: Sequence[RunFile]) -> Iterator[str]:
    for kind, words in WORDS.items():
        chosen = [file for file in files if file.kind == kind]
        if not chosen:
            continue
        names = [file.name for file in chosen]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        yield f"{words}: {format_bytes(disk_bytes(chosen))} ({shown})"


def _shown(path: Path, folder: Path) -> str:
    """A path as short as can be."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) and path != folder else str(path)


def _count(entries: Sequence[Entry]) -> str:
    return f"{len(entries)} run{'s' if len(entries) != 1 else ''}"
