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
from sana_wm.runs.inheritance import find_inheritance
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.unfinished import is_unfinished, reasons_to_refuse, versions_that_count
from sana_wm.weights.manifest_layout import WeightFile

#: `off`: the manifest runs none, or nobody needs it any more. `later`: it is to come, and was not asked for.
Action = Literal["run", "skip", "off", "later"]


@dataclass(frozen=True)
class StageDecision:
    """What happens to one stage; `reason` is for people."""

    stage: Stage
    action: Action
    reason: str


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
        stop_after: Run none that comes later than this stage; one that is off stops nothing.
    """
    decided: dict[Stage, StageDecision] = {}
    # What is only looked at goes by what becomes of the stage that it is looked at before.
    for stage in sorted(STAGES, key=lambda stage: PIPELINE[stage].looked_at_before is not None):
        why_off = PIPELINE[stage].off(manifest) or _why_not_looked_at(run, stage, decided, start_from)
        if why_off is not None:
            decided[stage] = StageDecision(stage, "off", why_off)
        else:
            decided[stage] = _decide_stage(run, manifest, stage, weights, decided, start_from)
    if stop_after is not None and decided[stop_after].action != "off":
        for stage in stages_after(stop_after):
            if decided[stage].action == "run":
                decided[stage] = StageDecision(stage, "later", f"not asked for: --to {stop_after}")
    return [decided[stage] for stage in STAGES]


def _why_not_looked_at(
    run: RunDirectory, stage: Stage, decided: Mapping[Stage, StageDecision], start_from: Stage | None
) -> str | None:
    """Why a stage that only serves a look, and has left nothing, is not run any more; `None` for all others."""
    before = PIPELINE[stage].looked_at_before
    if before is None or run.receipt_file(stage).exists():
        return None
    if start_from == before:
        return f"--from {before} begins after it"
    return f"{before} is done" if decided[before].action == "skip" else None


def _decide_stage(
    run: RunDirectory,
    manifest: RunManifest,
    stage: Stage,
    weights: Sequence[WeightFile],
    decided: Mapping[Stage, StageDecision],
    start_from: Stage | None,
) -> StageDecision:
    if start_from is not None and stage in stages_from(start_from):
        return StageDecision(stage, "run", f"asked for with --from {start_from}")
    source = source_of(manifest, stage)
    if source is not None and decided[source].action == "run":
        found = None if is_unfinished(run, stage) else find_inheritance(run, manifest, stage, weights)
        parts = f"; {found.described}" if found is not None and found.parts else ""
        return StageDecision(stage, "run", f"{source} runs before it{parts}")
    kept: list[str] = []
    for link in walk_stage(run, manifest, stage, weights, with_input_files=False):
        if link.state == "unfinished":
            return _decide_unfinished(run, manifest, stage, weights)
        if link.state == "broken":
            return StageDecision(stage, "run", link.reason)
        if link.state == "noted":
            kept += link.findings
    although = f"; kept although versions changed: {', '.join(kept)}" if kept else ""
    return StageDecision(stage, "skip", f"{_describe_done(run, stage)}, and its receipt matches{although}")


def _describe_done(run: RunDirectory, stage: Stage) -> str:
    receipt = read_receipt(run, stage)
    origin = receipt and receipt.taken_from
    return f"taken from {origin.run}" if origin else "done"


def _decide_unfinished(
    run: RunDirectory, manifest: RunManifest, stage: Stage, weights: Sequence[WeightFile]
) -> StageDecision:
    if not is_unfinished(run, stage):
        found = find_inheritance(run, manifest, stage, weights)
        if found is not None and found.receipt is not None:
            return StageDecision(stage, "skip", found.described)
        return StageDecision(stage, "run", "not done yet" + (f"; {found.described}" if found is not None else ""))
    # Whether it is the same chip only the stage knows.
    if reasons := reasons_to_refuse(run, manifest, stage, weights, versions_that_count(backend_of(manifest), stage)):
        why = f"left unfinished by others ({'; '.join(reasons)}): refused, unless --from {stage} starts it over"
        return StageDecision(stage, "run", why)
    return StageDecision(stage, "run", "not finished yet; goes on from its checkpoint")
