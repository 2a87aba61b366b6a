"""Which stages run, and why: a pure reading of the manifest and of what the run directory holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sana_wm.backends import backend_of
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES, Stage
from sana_wm.pipeline import PIPELINE, source_of, stages_after, stages_from
from sana_wm.runs.chain import walk_stage
from sana_wm.runs.inheritance import find_inheritance, shown_elsewhere
from sana_wm.runs.links import has_pruned_latents
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.unfinished import is_unfinished, reasons_to_refuse, versions_that_count
from sana_wm.weights.manifest_layout import WeightFile

#: `off`: the manifest runs none, or nobody needs it any more. `later`: it is to come, and was not asked for.
Action = Literal["run", "skip", "off", "later"]


@dataclass(frozen=True)
class StageDecision:
    """What happens to one stage.

    Attributes:
        stage: The stage.
        action: What happens.
        reason: Why, in words.
        spared_phases: Of a stage that runs, those that do not, because another run has made what they make.
    """

    stage: Stage
    action: Action
    reason: str
    spared_phases: tuple[str, ...] = ()


def stages_to_run(decisions: Sequence[StageDecision]) -> list[Stage]:
    """The stages that were decided to run, in their order."""
    return [decision.stage for decision in decisions if decision.action == "run"]


def stages_to_come(decisions: Sequence[StageDecision]) -> list[Stage]:
    """The stages that the run still needs and that were not asked for, in their order."""
    return [decision.stage for decision in decisions if decision.action == "later"]


def decide(
    run: RunDirectory,
    manifest: RunManifest,
    weights: Sequence[WeightFile],
    start_from: Stage | None = None,
    stop_after: Stage | None = None,
) -> list[StageDecision]:
    """Decide for every stage whether it runs.

    Args:
        run: The run directory.
        manifest: What shall run.
        weights: The weight files as they are now.
        start_from: Run this stage and all that are made from its result, whatever is there.
        stop_after: Run none that comes later than this stage; one that the manifest does not run stops nothing, one
            that nobody needs any more does.
    """
    forced = None if start_from is None else _Forced(start_from, f"asked for with --from {start_from}")
    decided = _decide_all(run, manifest, weights, forced)
    while (forced := _pruned_source(run, manifest, stages_to_run(list(decided.values())))) is not None:
        decided = _decide_all(run, manifest, weights, forced)
    if stop_after is not None and PIPELINE[stop_after].off(manifest) is None:
        for stage in stages_after(stop_after):
            if decided[stage].action == "run":
                decided[stage] = StageDecision(stage, "later", f"not asked for: --to {stop_after}")
    return [decided[stage] for stage in STAGES]


@dataclass(frozen=True)
class _Forced:
    """A stage that runs, and all that are made from its result, whatever is there."""

    stage: Stage
    reason: str


def _decide_all(
    run: RunDirectory, manifest: RunManifest, weights: Sequence[WeightFile], forced: _Forced | None
) -> dict[Stage, StageDecision]:
    decided: dict[Stage, StageDecision] = {}
    # What is only looked at goes by what becomes of the stage that it is looked at before.
    for stage in sorted(STAGES, key=lambda stage: PIPELINE[stage].looked_at_before is not None):
        if (why_off := PIPELINE[stage].off(manifest)) is not None:
            decided[stage] = StageDecision(stage, "off", why_off)
            continue
        decided[stage] = _decide_stage(run, manifest, stage, weights, decided, forced)
        if (why_not := _why_not_looked_at(run, manifest, stage, decided, forced)) is not None:
            decided[stage] = StageDecision(stage, "off", why_not)
    return decided


def _why_not_looked_at(
    run: RunDirectory,
    manifest: RunManifest,
    stage: Stage,
    decided: Mapping[Stage, StageDecision],
    forced: _Forced | None,
) -> str | None:
    """Why a stage that only serves a look need not run although it could; `None` for all others."""
    before, source = PIPELINE[stage].looked_at_before, source_of(manifest, stage)
    if before is None or source is None or decided[stage].action != "run":
        return None
    if forced is not None and forced.stage in (stage, before):
        return None if forced.stage == stage else f"the run begins with {before}: {forced.reason}"
    if decided[source].action == "skip" and (shown := shown_elsewhere(run, manifest, source)) is not None:
        return f"{shown} shows the same"
    is_done = decided[before].action == "skip"
    is_there = run.receipt_file(stage).exists() and not has_pruned_latents(run, source)
    return f"{before} is done" if is_done and not is_there else None


def _pruned_source(run: RunDirectory, manifest: RunManifest, running: Sequence[Stage]) -> _Forced | None:
    """The stage whose latents one that runs will read, and that nobody makes again although they were pruned."""
    for stage in running:
        source = source_of(manifest, stage)
        if source is not None and source not in running and has_pruned_latents(run, source):
            return _Forced(source, f"its latents were pruned, and {stage} reads them")
    return None


def _decide_stage(
    run: RunDirectory,
    manifest: RunManifest,
    stage: Stage,
    weights: Sequence[WeightFile],
    decided: Mapping[Stage, StageDecision],
    forced: _Forced | None,
) -> StageDecision:
    if forced is not None and stage in stages_from(forced.stage):
        return StageDecision(stage, "run", forced.reason)
    source = source_of(manifest, stage)
    if source is not None and decided[source].action == "run":
        found = None if is_unfinished(run, stage) else find_inheritance(run, manifest, stage, weights)
        if found is None or not found.parts:
            return StageDecision(stage, "run", f"{source} runs before it")
        return StageDecision(stage, "run", f"{source} runs before it; {found.described}", found.spared_phases)
    kept: list[str] = []
    pruned: list[str] = []
    for link in walk_stage(run, manifest, stage, weights, with_input_files=False):
        if link.state == "unfinished":
            return _decide_unfinished(run, manifest, stage, weights)
        if link.state == "broken":
            return StageDecision(stage, "run", link.reason)
        if link.state == "noted":
            kept += link.findings
        if link.state == "pruned":
            pruned += link.findings
    although = f"; kept although versions changed: {', '.join(kept)}" if kept else ""
    done = f"{_describe_done(run, stage)}, and its receipt matches{although}"
    return StageDecision(stage, "skip", "; ".join([done, *pruned]))


def _describe_done(run: RunDirectory, stage: Stage) -> str:
    receipt = read_receipt(run, stage)
    origin = receipt and receipt.taken_from
    return f"taken from {origin.run}" if origin else "done"


def _decide_unfinished(
    run: RunDirectory, manifest: RunManifest, stage: Stage, weights: Sequence[WeightFile]
) -> StageDecision:
    if not is_unfinished(run, stage):
        found = find_inheritance(run, manifest, stage, weights)
        if found is None:
            return StageDecision(stage, "run", "not done yet")
        if found.receipt is not None:
            return StageDecision(stage, "skip", found.described)
        return StageDecision(stage, "run", f"not done yet; {found.described}", found.spared_phases)
    # Whether it is the same chip only the stage knows.
    if reasons := reasons_to_refuse(run, manifest, stage, weights, versions_that_count(backend_of(manifest), stage)):
        why = f"left unfinished by others ({'; '.join(reasons)}): refused, unless --from {stage} starts it over"
        return StageDecision(stage, "run", why)
    return StageDecision(stage, "run", "not finished yet; goes on from its checkpoint")
