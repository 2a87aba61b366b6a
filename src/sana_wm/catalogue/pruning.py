"""Taking from finished runs what their videos do not need; their receipts say so from then on.

A receipt goes on to vouch for an output that was pruned: what was made from it stays what it is. It names it as pruned
before the file goes, so that no crash in between makes damage of it; where the file is still there, it counts as such.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sana_wm.catalogue.entry import Entry, read_entry
from sana_wm.catalogue.jobs import jobs_that_name
from sana_wm.catalogue.lineage import readers_of
from sana_wm.catalogue.removal import Going, around
from sana_wm.durable import remove_file
from sana_wm.errors import HandoffError
from sana_wm.runs.chain import stages_due
from sana_wm.runs.inventory import Kind, RunFile
from sana_wm.runs.lock import owning
from sana_wm.runs.receipts import read_receipt, write_receipt
from sana_wm.runs.run_directory import RunDirectory

#: What no command needs of a finished run, or makes again within seconds.
WITHOUT_LOSS: tuple[Kind, ...] = ("leftover", "state")
#: What other commands begin with.
LATENTS: Kind = "latents"


def plan_pruning(entries: Sequence[Entry], *, latents: bool) -> list[Going]:
    """What goes when runs are pruned; touches nothing.

    Raises:
        HandoffError: A run is not finished: what it has not used yet is needed.
    """
    for entry in entries:
        if entry.state != "finished":
            raise HandoffError(
                f"{entry.path} is not finished: nothing of it can be spared",
                got=entry.state_words,
                expected="a finished run",
                next_step=f"Finish it: {entry.run.resume_command}",
            )
    others = around(entries)
    plans: list[Going] = []
    for entry in entries:
        readers = tuple(readers_of(entry, others)) if latents else ()
        jobs = jobs_that_name(entry) if latents else ()
        plans.append(Going(entry, _prunable(entry, latents=latents), readers=readers, jobs=jobs))
    return [plan for plan in plans if plan.files]


def _prunable(entry: Entry, *, latents: bool) -> tuple[RunFile, ...]:
    kinds = (*WITHOUT_LOSS, LATENTS) if latents else WITHOUT_LOSS
    return tuple(file for file in entry.files if file.kind in kinds)


def prune_run(run: RunDirectory, *, latents: bool, say: Callable[[Path], None] = lambda _: None) -> None:
    """Take from a finished run what its video does not need.

    Args:
        run: The run directory.
        latents: Whether what other runs begin with goes, too.
        say: Takes each file right before it goes.

    Raises:
        RunDirectoryBusyError: Somebody works in it.
        HandoffError: It is not finished any more, holds a link, or a receipt cannot be written.
    """
    with owning(run):
        entry = read_entry(run)
        if entry.manifest is None or any(read_receipt(run, stage) is None for stage in stages_due(run, entry.manifest)):
            raise HandoffError(f"{run.path} changed meanwhile", got=entry.state_words, expected="a finished run")
        files = _prunable(entry, latents=latents)
        _write_down(run, entry, [file.name for file in files])
        for file in files:
            say(file.path)
            remove_file(file.path)


def _write_down(run: RunDirectory, entry: Entry, names: Sequence[str]) -> None:
    """Let every receipt say which of its outputs are about to go."""
    assert entry.manifest is not None
    for stage in stages_due(run, entry.manifest):
        receipt = read_receipt(run, stage)
        going = [name for name in names if receipt is not None and name in receipt.outputs]
        if receipt is not None and (pruned := tuple(dict.fromkeys((*receipt.pruned, *going)))) != receipt.pruned:
            write_receipt(run, receipt.model_copy(update={"pruned": pruned}))
