"""Which stages run, and why: a pure reading of the manifest and of what the run directory holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sana_wm.errors import HandoffError
from sana_wm.handoff.receipts import Receipt, WeightFile, changed_fields, damaged_outputs, read_receipt, stage_settings
from sana_wm.handoff.run_directory import STAGES, RunDirectory, Stage
from sana_wm.manifest.model import RunManifest

Action = Literal["run", "skip", "off"]


@dataclass(frozen=True)
class StageDecision:
    """What happens to one stage; `reason` is for people."""

    stage: Stage
    action: Action
    reason: str


def decide(
    run: RunDirectory, manifest: RunManifest, weights: Sequence[WeightFile], start_from: Stage | None = None
) -> list[StageDecision]:
    """Decide for every stage whether it runs.

    Args:
        run: The run directory.
        manifest: What shall run.
        weights: The weight files as they are now.
        start_from: Run this stage and all after it whatever is there.
    """
    decisions: list[StageDecision] = []
    for stage in STAGES:
        if stage == "refiner" and not manifest.refiner.enabled:
            decisions.append(StageDecision(stage, "off", "refiner.enabled is false"))
            continue
        reason = _reason_to_run(run, manifest, stage, weights, decisions, start_from)
        if reason is None:
            decisions.append(StageDecision(stage, "skip", "done, and its receipt matches"))
        else:
            decisions.append(StageDecision(stage, "run", reason))
    return decisions


def _reason_to_run(
    run: RunDirectory,
    manifest: RunManifest,
    stage: Stage,
    weights: Sequence[WeightFile],
    earlier: list[StageDecision],
    start_from: Stage | None,
) -> str | None:
    if start_from is not None and STAGES.index(stage) >= STAGES.index(start_from):
        return f"asked for with --from {start_from}"
    if again := next((decision.stage for decision in earlier if decision.action == "run"), None):
        return f"{again} runs before it"
    try:
        receipt = read_receipt(run, stage)
    except HandoffError as error:
        return str(error)
    if receipt is None:
        folder = run.checkpoint_folder(stage)
        started = folder.is_dir() and any(folder.iterdir())
        return "not finished yet; goes on from its checkpoint" if started else "not done yet"
    if changes := changed_fields(receipt.settings, stage_settings(manifest, stage)):
        return f"manifest field changed: {'; '.join(changes)}"
    return _changed_files(run, receipt, weights)


def _changed_files(run: RunDirectory, receipt: Receipt, weights: Sequence[WeightFile]) -> str | None:
    there = {file.component for file in weights}
    for file in receipt.weights:
        # Weights that are not there at all, on a volume that is not mounted, say nothing against what they made.
        if file.component in there and file not in weights:
            return f"weights changed: {file.component} ({file.file})"
    for name, digest in receipt.inputs.items():
        maker = next(
            (other for stage in STAGES if (other := _receipt_or_none(run, stage)) and name in other.outputs), None
        )
        if maker is None or maker.outputs[name].sha256 != digest:
            return f"its input {name} is not the one it was made from"
    if findings := damaged_outputs(run, receipt):
        return "; ".join(findings)
    return None


def _receipt_or_none(run: RunDirectory, stage: Stage) -> Receipt | None:
    try:
        return read_receipt(run, stage)
    except HandoffError:
        return None  # reported where that stage itself is decided
