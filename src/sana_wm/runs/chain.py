"""One walk over what a finished stage rests on; who decides, verifies, reports or prepares a run takes it.

receipt -> settings -> code and libraries -> weights -> inputs -> outputs. The links come one by one, the cheapest to
look at first: who needs only the first broken one hashes no latents in vain. What is held against what stands in
`sana_wm.runs.links`; docs/runs.md says what each broken link invalidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sana_wm.errors import HandoffError, SanaWMError
from sana_wm.manifest.model import Manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.pipeline import PIPELINE, active_stages, source_of, stages_from
from sana_wm.runs.links import (
    changed_inputs,
    changed_results,
    changed_settings,
    changed_versions,
    changed_weights,
    damaged_outputs,
    foreign_inputs,
    pruned_outputs,
    unseen_weights,
)
from sana_wm.runs.receipts import Receipt, read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.weights.manifest_layout import WeightFile, identify_weights, locate_weights

State = Literal["holds", "broken", "unfinished", "unchecked", "noted", "pruned"]

#: What a finding of a link is about, where the finding alone does not say it.
_SUBJECTS = {"settings": "manifest field changed: ", "versions": "version changed: ", "weights": "weights changed: "}


@dataclass(frozen=True)
class Link:
    """One link of the chain.

    Attributes:
        name: `manifest`, `metrics`, or `STAGE/receipt`, `/settings`, `/versions`, `/weights`, `/inputs`, `/outputs`.
        state: `unfinished` where a stage has left no receipt; `unchecked` where what it points to is not there, such
            as weights on a volume that is not mounted; `noted` where it differs and the rule (docs/runs.md) keeps what
            was made; `pruned` where outputs were removed on purpose, and what was made from them stays.
        findings: What was found, in words; empty where it holds.
        invalidates: The stages that cannot be trusted any more.
    """

    name: str
    state: State
    findings: tuple[str, ...] = ()
    invalidates: tuple[Stage, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether what it stands for is there and can be trusted."""
        return self.state not in ("broken", "unfinished")

    @property
    def detail(self) -> str:
        """The findings in one line."""
        return "; ".join(self.findings)

    @property
    def reason(self) -> str:
        """The findings in one line that says by itself what they are about."""
        return _SUBJECTS.get(self.name.rpartition("/")[2], "") + self.detail

    def as_json(self) -> dict[str, Any]:
        """By name, for `--json`."""
        return {"name": self.name, "state": self.state, "detail": self.detail, "invalidates": self.invalidates}


def hold(name: str, findings: Sequence[str], invalidates: tuple[Stage, ...]) -> Link:
    """A link that any finding breaks."""
    return Link(name, "broken", tuple(findings), invalidates) if findings else Link(name, "holds")


def walk_stage(
    run: RunDirectory,
    manifest: RunManifest,
    stage: Stage,
    weights: Sequence[WeightFile] | None = None,
    *,
    with_input_files: bool = True,
) -> Iterator[Link]:
    """Hold every link of a stage against what is there now; ends after a receipt that is none.

    Args:
        run: The run directory.
        manifest: What the stage should have run under.
        stage: Of the manifest's active ones, or one that the manifest switched off meanwhile.
        weights: The weight files as they are now; `None` to look for them when their turn comes.
        with_input_files: Whether the picture and the poses are looked at, which a finished stage needs no more.
    """
    after: tuple[Stage, ...] = tuple(later for later in active_stages(manifest) if later in stages_from(stage))
    try:
        receipt = read_receipt(run, stage)
    except HandoffError as error:
        yield Link(f"{stage}/receipt", "broken", (str(error),), after)
        return
    if receipt is None:
        yield Link(f"{stage}/receipt", "unfinished", ("no receipt: the stage is not finished",), after)
        return
    yield Link(f"{stage}/receipt", "holds")
    yield hold(f"{stage}/settings", changed_settings(receipt, manifest), after)
    yield _hold_versions(receipt, after)
    yield _hold_weights(manifest, receipt, weights, after)
    if PIPELINE[stage].sources:
        yield hold(f"{stage}/inputs", foreign_inputs(run, receipt, source_of(manifest, stage)), after)
    elif with_input_files:
        yield _hold_input_files(manifest, stage, after)
    yield hold_outputs(run, receipt, after)


def hold_outputs(run: RunDirectory, receipt: Receipt, after: tuple[Stage, ...]) -> Link:
    """The outputs of a stage: those that are there; those that `runs prune` removed are said."""
    name, pruned = f"{receipt.stage}/outputs", pruned_outputs(run, receipt)
    if findings := damaged_outputs(run, receipt, apart_from=pruned):
        return Link(name, "broken", tuple(findings), after)
    return Link(name, "pruned", (f"removed on purpose: {', '.join(pruned)}",)) if pruned else Link(name, "holds")


def is_passed_by(run: RunDirectory, stage: Stage) -> bool:
    """Whether a stage left nothing, and nobody needs it any more: what it would be looked at before is done."""
    before = PIPELINE[stage].looked_at_before
    return before is not None and not run.receipt_file(stage).exists() and run.receipt_file(before).exists()


def stages_due(run: RunDirectory, manifest: Manifest) -> tuple[Stage, ...]:
    """The stages of which a whole run has receipts: those of the manifest, without one that is passed by."""
    return tuple(stage for stage in active_stages(manifest) if not is_passed_by(run, stage))


def _hold_versions(receipt: Receipt, after: tuple[Stage, ...]) -> Link:
    name = f"{receipt.stage}/versions"
    if changes := changed_results(receipt):
        return Link(name, "broken", tuple(changes), after)
    changes = changed_versions(receipt)
    return Link(name, "noted", tuple(changes)) if changes else Link(name, "holds")


def _hold_weights(
    manifest: RunManifest, receipt: Receipt, weights: Sequence[WeightFile] | None, after: tuple[Stage, ...]
) -> Link:
    name = f"{receipt.stage}/weights"
    try:
        now = identify_weights(locate_weights(manifest), receipt.stage) if weights is None else weights
    except SanaWMError as error:
        return Link(name, "broken", (str(error),), after)
    if changes := changed_weights(receipt, now):
        return Link(name, "broken", tuple(changes), after)
    if unseen := unseen_weights(receipt, now):
        return Link(name, "unchecked", (f"not there: {', '.join(unseen)}",))
    return Link(name, "holds")


def _hold_input_files(manifest: RunManifest, stage: Stage, after: tuple[Stage, ...]) -> Link:
    name = f"{stage}/inputs"
    inputs = changed_inputs(manifest)
    if changed := [f"{one.field} is not the file it was made from: {one.path}" for one in inputs if one.sha256]:
        return Link(name, "broken", tuple(changed), after)
    if absent := [f"{one.field} ({one.path})" for one in inputs]:
        return Link(name, "unchecked", (f"not there: {', '.join(absent)}",))
    return Link(name, "holds")
