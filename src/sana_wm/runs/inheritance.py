"""What a run takes over from the one that it was made from: what it would make the same is linked, not made again.

A stage's result is taken where every link of its chain holds for the new manifest, by the walk that also decides
whether a finished stage is skipped. The receipt comes with it and says from where; the run then stands by itself,
whatever becomes of the other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sana_wm.durable import durable_file, remove_file
from sana_wm.errors import HandoffError
from sana_wm.held import open_folder
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.pipeline import PIPELINE, Part, active_stages, source_of, stages_from
from sana_wm.runs.chain import walk_stage
from sana_wm.runs.kept_parts import valid_parts
from sana_wm.runs.links import damaged_outputs, has_pruned_latents, pruned_outputs
from sana_wm.runs.links_refused import refuse_links
from sana_wm.runs.receipts import Receipt, TakenFrom, read_receipt, write_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.unfinished import is_unfinished
from sana_wm.weights.manifest_layout import WeightFile


@dataclass(frozen=True)
class Inheritance:
    """What a stage can take over.

    Attributes:
        source: The run that has it.
        receipt: Of the stage there, where its result is what it would be here.
        parts: What of it can be used where it is not.
        why_not: Why it is not, in words.
    """

    source: RunDirectory
    receipt: Receipt | None = None
    parts: tuple[Part, ...] = ()
    why_not: str = ""

    @property
    def spared_phases(self) -> tuple[str, ...]:
        """The phases of the stage that need not run, because what they make can be used."""
        return tuple(phase for part in self.parts for phase in part.phases)

    @property
    def described(self) -> str:
        """In words, for people."""
        if self.receipt is not None:
            return f"the same as in {self.source.path}: taken from there"
        return f"{self.why_not}; from {self.source.path}: {', '.join(part.title for part in self.parts) or 'nothing'}"


def find_inheritance(
    run: RunDirectory, manifest: RunManifest, stage: Stage, weights: Sequence[WeightFile]
) -> Inheritance | None:
    """What a stage that is to come can take over; touches nothing.

    Args:
        run: The run directory.
        manifest: What shall run.
        stage: Without a receipt, and not begun.
        weights: The weight files as they are now.

    Returns:
        `None` for a run that was made from no other, and for a stage that leaves nothing to others.
    """
    spec = PIPELINE[stage]
    if manifest.made_from is None or spec.latents is None:
        return None
    source = RunDirectory(Path(manifest.made_from.run).expanduser())
    try:
        refuse_links(source.path)
        if not source.is_ours():
            return Inheritance(source, why_not="it is not there")
        receipt, why_not = _find_receipt(run, source, manifest, stage, weights)
    except (HandoffError, OSError) as error:
        return Inheritance(source, why_not=str(error))
    if receipt is not None:
        return Inheritance(source, receipt)
    kept = [place.path / name for name in spec.kept for place in (run, source)]
    file = next((path for path in kept if path.is_file()), None)
    parts = valid_parts(file, manifest, stage, weights) if file is not None else ()
    return Inheritance(source, parts=parts, why_not=why_not)


def shown_elsewhere(run: RunDirectory, manifest: RunManifest, stage: Stage) -> Path | None:
    """The preview of a stage that is another run's, or will be, where that run has one; `None` for the run's own."""
    receipt = read_receipt(run, stage)
    if manifest.made_from is None or (receipt is not None and receipt.taken_from is None):
        return None
    preview = RunDirectory(Path(manifest.made_from.run).expanduser()).preview_file
    return preview if preview.is_file() else None


def take_over(
    run: RunDirectory, manifest: RunManifest, weights: Sequence[WeightFile], start_from: Stage | None = None
) -> None:
    """Take over what can be taken; the caller owns the directory, whose manifest is written.

    Args:
        run: The run directory.
        manifest: What shall run.
        weights: The weight files as they are now.
        start_from: This stage and all after it are made here, whatever is there.

    Raises:
        HandoffError: Nothing can be written here.
    """
    made_here = stages_from(start_from) if start_from is not None else ()
    for stage in active_stages(manifest):
        if stage in made_here or run.receipt_file(stage).exists() or is_unfinished(run, stage):
            continue
        found = find_inheritance(run, manifest, stage, weights)
        if found is None or manifest.made_from is None:
            continue
        if found.receipt is not None:
            pruned = pruned_outputs(found.source, found.receipt)
            for name in (one for one in found.receipt.outputs if one not in pruned):
                _link_or_copy(found.source.path / name, run.path / name)
            # Else it was changed meanwhile, and the stage runs.
            if not damaged_outputs(run, found.receipt, apart_from=pruned):
                origin = TakenFrom(run=str(found.source.path), manifest_sha256=manifest.made_from.manifest_sha256)
                write_receipt(run, found.receipt.model_copy(update={"taken_from": origin}))
        elif found.parts:
            for name in PIPELINE[stage].kept:
                if not (run.path / name).exists():
                    _link_or_copy(found.source.path / name, run.path / name)


def _find_receipt(
    run: RunDirectory, source: RunDirectory, manifest: RunManifest, stage: Stage, weights: Sequence[WeightFile]
) -> tuple[Receipt | None, str]:
    """The receipt of a stage that would be the same here; or why it would not, in words."""
    for link in walk_stage(source, manifest, stage, weights, with_input_files=False):
        if link.state not in ("holds", "noted", "unchecked", "pruned"):
            return None, link.reason
    if has_pruned_latents(source, stage):
        return None, "its latents were pruned"
    receipt, earlier = read_receipt(source, stage), source_of(manifest, stage)
    if receipt is None or (earlier is not None and not _begins_with_the_same(run, manifest, earlier, weights, receipt)):
        return None, f"it begins with other latents of {earlier}"
    return receipt, ""


def _begins_with_the_same(
    run: RunDirectory, manifest: RunManifest, earlier: Stage, weights: Sequence[WeightFile], receipt: Receipt
) -> bool:
    """Whether the latents that a receipt names as input are those that this run has, or will take over."""
    own = read_receipt(run, earlier)
    if own is None and (found := find_inheritance(run, manifest, earlier, weights)) is not None:
        own = found.receipt
    name = run.name_of(run.latents_file(earlier))
    return own is not None and name in own.outputs and own.outputs[name].sha256 == receipt.inputs.get(name)


def _link_or_copy(source: Path, path: Path) -> None:
    """Give a finished file a second name, durably; where its volume gives none, what it holds is copied.

    A file that is written as all here are is never changed in place: both names keep what they have.

    Raises:
        HandoffError: The source cannot be read, or nothing can be written here.
    """
    with durable_file(path) as part:
        remove_file(part)
        try:
            with open_folder(part.parent) as folder:
                os.link(source, part.name, dst_dir_fd=folder, follow_symlinks=False)
        except OSError:  # another volume, one that has no second names, or another user's file
            shutil.copyfile(source, part)
