"""Removing runs: what goes, what stays, who still needs it; then file by file, under the run's lock.

Only files that this package knows by name go. The manifest goes last but one, the lock last: a removal that is cut
short leaves something that can be removed again.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sana_wm.catalogue.entry import Entry, read_entry
from sana_wm.catalogue.folder import read_catalogue
from sana_wm.catalogue.jobs import jobs_that_name
from sana_wm.catalogue.lineage import children_of, readers_of
from sana_wm.drafting.new_run import files_beside
from sana_wm.durable import remove_empty_folder, remove_file
from sana_wm.errors import HandoffError, RunDirectoryBusyError, UsageError
from sana_wm.queue.job import Job
from sana_wm.runs.inventory import RunFile, freed_bytes, list_files, list_folders
from sana_wm.runs.links_refused import refuse_links
from sana_wm.runs.lock import owning
from sana_wm.runs.run_directory import RunDirectory


@dataclass(frozen=True)
class Going:
    """What one run loses.

    Attributes:
        entry: The run.
        files: What goes.
        foreign: What stays although it lies there: nobody here made it.
        beside: The run's own files that lie beside its directory and stay: other runs may begin with them.
        children: Runs that were made from it and stay: what they share with it is theirs, too.
        readers: Runs that are not finished and read files of it: they cannot go on without.
        jobs: Jobs of the queue that are to come and name it.
    """

    entry: Entry
    files: tuple[RunFile, ...]
    foreign: tuple[RunFile, ...] = ()
    beside: tuple[Path, ...] = ()
    children: tuple[Entry, ...] = ()
    readers: tuple[Entry, ...] = ()
    jobs: tuple[Job, ...] = ()


def entries_of(runs: Sequence[Path]) -> list[Entry]:
    """The runs in directories that a user named.

    Raises:
        HandoffError: One is no run directory.
        RunDirectoryBusyError: Somebody works in one.
        UsageError: One is named twice.
    """
    entries: list[Entry] = []
    for path in runs:
        run = RunDirectory(path)
        if not run.is_ours():
            run.read_manifest()  # says so
        refuse_links(path)
        if path in [entry.path for entry in entries]:
            raise UsageError(f"{path} is named twice", expected="each run once")
        entries.append(read_entry(run))
    for entry in entries:
        if entry.state == "running":
            raise RunDirectoryBusyError(
                f"{entry.path} is in use",
                got=entry.state_words,
                expected="no running sana-wm in this directory",
                next_step=f"Stop it first, with Ctrl-C; how far it is: sana-wm status {shlex.quote(str(entry.path))}",
            )
    return entries


def plan_removal(entries: Sequence[Entry]) -> list[Going]:
    """What goes when runs are removed; touches nothing."""
    others = around(entries)
    gone = {entry.path for entry in entries}
    plans: list[Going] = []
    for entry in entries:
        same = next((other for other in others if other.path == entry.path), entry)
        left = [other for other in others if other.path not in gone or other is same]
        plans.append(
            Going(
                entry,
                files=tuple(file for file in entry.files if file.kind != "foreign"),
                foreign=tuple(file for file in entry.files if file.kind == "foreign"),
                beside=tuple(path for path in files_beside(entry.path) if path.is_file()),
                children=tuple(children_of(same, left)),
                readers=tuple(readers_of(same, left)),
                jobs=jobs_that_name(entry),
            )
        )
    return plans


def around(entries: Sequence[Entry]) -> list[Entry]:
    """The runs that lie beside some, those included."""
    folders = dict.fromkeys(entry.path.parent for entry in entries)
    found = {one.path: one for folder in folders for one in read_catalogue(folder).entries}
    return list(found.values())


def freed_by(plans: Iterable[Going]) -> int:
    """What is free once all of it is gone: content that another run has, too, stays."""
    return freed_bytes(file for plan in plans for file in plan.files)


def remove_run(run: RunDirectory, say: Callable[[Path], None] = lambda _: None) -> list[Path]:
    """Remove a run's files, and its directory unless something of somebody else lies in it.

    Args:
        run: The run directory.
        say: Takes each file right before it goes.

    Returns:
        What stayed.

    Raises:
        RunDirectoryBusyError: Somebody works in it.
        HandoffError: It is no run directory any more, or holds a link.
    """
    last = (run.manifest_file, run.lock_file)
    with owning(run):
        if not run.is_ours():
            raise HandoffError(f"{run.path} is no run directory any more", expected="the run that was looked at")
        manifest = read_entry(run).manifest
        files = list_files(run, manifest)
        ours = [file.path for file in files if file.kind != "foreign" and file.path not in last]
        for path in (*ours, *last):
            say(path)
            remove_file(path)
        for folder in (*list_folders(run, manifest), run.path):
            remove_empty_folder(folder)
    return [file.path for file in files if file.kind == "foreign"]
