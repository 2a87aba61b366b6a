"""The manifest that shall run, held against the run directory that it shall run in."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sana_wm.durable import remove_file
from sana_wm.errors import HandoffError
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES, Stage
from sana_wm.pipeline import stages_from
from sana_wm.runs.chain import walk_stage
from sana_wm.runs.links_refused import refuse_links
from sana_wm.runs.receipts import changed_fields, stage_settings
from sana_wm.runs.run_directory import RunDirectory


def compare(run: RunDirectory, manifest: RunManifest, *, force: bool) -> tuple[Stage, ...]:
    """Hold a manifest against what the run directory holds; touches nothing.

    Args:
        run: The directory, new or of an earlier run.
        manifest: What shall run.
        force: Take over a directory of another manifest.

    Returns:
        The stages whose results the directory holds and that must start over.

    Raises:
        HandoffError: The directory holds another run, or something else, and `force` is off.
    """
    run.refuse_foreign_content()
    if not run.manifest_file.exists() and not run.holds_results():
        return ()
    try:
        before = run.read_manifest()
        changes: Mapping[Stage, Sequence[str]] = {
            stage: changed_fields(stage_settings(before, stage), stage_settings(manifest, stage)) for stage in STAGES
        }
    except HandoffError:
        if not force:
            raise
        changes = {stage: _changes_since_receipt(run, manifest, stage) for stage in STAGES}
    if any(changes.values()) and not force:
        raise HandoffError(
            f"{run.path} holds a run of another manifest",
            got="; ".join(sorted({change for words in changes.values() for change in words})),
            expected="the same manifest",
            next_step="Choose another output_dir, or add --force: stages whose settings differ start over.",
        )
    over = {later for stage in STAGES if changes[stage] for later in stages_from(stage)}
    return tuple(stage for stage in STAGES if stage in over)


def _changes_since_receipt(run: RunDirectory, manifest: RunManifest, stage: Stage) -> Sequence[str]:
    """What a manifest changes of a finished stage; parts of an unfinished one say themselves what they are of."""
    links = walk_stage(run, manifest, stage)  # a damaged receipt is reported, and the stage run again, on decision
    return next((link.findings for link in links if link.name == f"{stage}/settings"), ())


def check_receipts(run: RunDirectory, manifest: RunManifest) -> None:
    """Before a run goes on: whether its manifest is the one that its finished stages ran under.

    Raises:
        HandoffError: It is another run's.
    """
    changes = {stage: _changes_since_receipt(run, manifest, stage) for stage in STAGES}
    if foreign := [stage for stage in STAGES if changes[stage]]:
        raise HandoffError(
            f"{run.manifest_file} is not the manifest that {', '.join(foreign)} ran under",
            got="; ".join(sorted({change for words in changes.values() for change in words})),
            expected="the manifest of this run",
            next_step="Run the manifest that you want with run-pipeline; --force starts over the stages that differ.",
        )


def check_unchanged(run: RunDirectory, stored: RunManifest) -> None:
    """Once the directory is owned: whether its manifest is still the one that was read before.

    Raises:
        HandoffError: Another command has changed it meanwhile, or changed what it made.
    """
    if run.read_manifest() != stored:
        raise HandoffError(
            f"{run.manifest_file} was changed by another command while this one began",
            got="other settings",
            expected="the manifest that this command had read",
            next_step=f"Look at it with: sana-wm status {shlex.quote(str(run.path))}; then {run.resume_command}",
        )
    check_receipts(run, stored)


def prepare(
    run: RunDirectory, manifest: RunManifest, *, force: bool, say: Callable[[Path], None] = lambda _: None
) -> list[Path]:
    """Put the manifest into the run directory; stages that must start over lose what they left.

    Args:
        run: The directory, new or of an earlier run.
        manifest: What shall run.
        force: As of `compare`.
        say: Takes each file and folder that is about to be deleted.

    Returns:
        What was deleted.

    Raises:
        HandoffError: As in `compare`; or the directory cannot be written, or holds a link.
    """
    refuse_links(run.path)
    starting_over = compare(run, manifest, force=force)
    deleted = [path for stage in starting_over for path in run.clear_stage(stage, say)]
    if STAGES[0] in starting_over:  # another run: what was before is none of its starts
        remove_file(run.start_file)
    run.write_manifest(manifest)
    return deleted
