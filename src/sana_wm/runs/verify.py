"""Walks a run's hash chain, link by link, and says which links are broken and what each one invalidates.

manifest -> settings -> weights -> inputs -> code and libraries -> outputs, stage by stage; see `sana_wm.runs.links`.
Nothing is changed, and nothing is trusted because another link holds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from sana_wm.errors import HandoffError, SanaWMError
from sana_wm.runs.links import (
    changed_inputs,
    changed_results,
    changed_settings,
    changed_versions,
    changed_weights,
    damaged_outputs,
    foreign_inputs,
    unseen_weights,
)
from sana_wm.runs.receipts import Receipt, read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.metrics import metrics_findings
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES, Stage
from sana_wm.pipeline import PIPELINE, active_stages, source_of, stages_from
from sana_wm.weights.manifest_layout import identify_weights, locate_weights

State = Literal["holds", "broken", "unfinished", "unchecked", "noted"]


@dataclass(frozen=True)
class Link:
    """One link of the chain.

    Attributes:
        name: `manifest`, `metrics`, or `STAGE/receipt`, `/settings`, `/weights`, `/inputs`, `/versions`, `/outputs`.
        state: `unfinished` where a stage of an unfinished run has no receipt; `unchecked` where what it points to is
            not there, such as weights on a volume that is not mounted; `noted` where it differs and the rule
            (docs/runs.md) keeps what was made.
        detail: What was found, in words; empty where it holds.
        invalidates: The stages that cannot be trusted any more.
    """

    name: str
    state: State
    detail: str = ""
    invalidates: tuple[Stage, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether what it stands for is there and can be trusted."""
        return self.state not in ("broken", "unfinished")

    def as_json(self) -> dict[str, Any]:
        """By name, for `--json`."""
        return asdict(self)


def verify(run: RunDirectory) -> list[Link]:
    """Hold every link of a run directory against what is there.

    Raises:
        HandoffError: It is no run directory.
    """
    if not run.path.is_dir() or not (run.manifest_file.exists() or (run.path / "receipts").is_dir()):
        run.read_manifest()  # says so
    try:
        run.refuse_links()
        manifest = run.read_manifest()
    except HandoffError as error:
        return [Link("manifest", "broken", str(error), STAGES), *_verify_outputs_alone(run)]
    links = [Link("manifest", "holds")]
    active = active_stages(manifest)
    for stage in active:
        if links[-1].state == "unfinished":  # what comes after it is made anew, too
            links.append(Link(f"{stage}/receipt", "unfinished", "after a stage that is to come"))
            continue
        links += _verify_stage(run, manifest, stage, active[active.index(stage) :])
    if all(link.is_whole for link in links):
        links.append(_link("metrics", metrics_findings(run), ()))
    return links


def _verify_outputs_alone(run: RunDirectory) -> list[Link]:
    """What can be said without the manifest: whether outputs are those of their receipts."""
    links: list[Link] = []
    for stage in STAGES:
        try:
            receipt = read_receipt(run, stage)
        except HandoffError as error:
            links.append(Link(f"{stage}/receipt", "broken", str(error), stages_from(stage)))
            continue
        if receipt is not None:
            links.append(_link(f"{stage}/outputs", damaged_outputs(run, receipt), stages_from(stage)))
    return links


def _verify_stage(run: RunDirectory, manifest: RunManifest, stage: Stage, after: tuple[Stage, ...]) -> list[Link]:
    try:
        receipt = read_receipt(run, stage)
    except HandoffError as error:
        return [Link(f"{stage}/receipt", "broken", str(error), after)]
    if receipt is None:
        if not run.metrics_file.exists():  # written at the end of every start
            return [Link(f"{stage}/receipt", "unfinished", "none yet")]
        return [Link(f"{stage}/receipt", "broken", f"no receipt: {stage} is not finished", after)]
    inputs = foreign_inputs(run, receipt, source_of(manifest, stage))
    return [
        Link(f"{stage}/receipt", "holds"),
        _link(f"{stage}/settings", changed_settings(receipt, manifest), after),
        _verify_weights(manifest, receipt, after),
        _verify_input_files(manifest, after)
        if not PIPELINE[stage].sources
        else _link(f"{stage}/inputs", inputs, after),
        _verify_versions(receipt, after),
        _link(f"{stage}/outputs", damaged_outputs(run, receipt), after),
    ]


def _verify_versions(receipt: Receipt, after: tuple[Stage, ...]) -> Link:
    name = f"{receipt.stage}/versions"
    if changes := changed_results(receipt):
        return Link(name, "broken", "; ".join(changes), after)
    changes = changed_versions(receipt)
    return Link(name, "noted", ", ".join(changes)) if changes else Link(name, "holds")


def _verify_weights(manifest: RunManifest, receipt: Receipt, after: tuple[Stage, ...]) -> Link:
    name = f"{receipt.stage}/weights"
    try:
        weights = identify_weights(locate_weights(manifest), receipt.stage)
    except SanaWMError as error:
        return Link(name, "broken", str(error), after)
    if changes := changed_weights(receipt, weights):
        return Link(name, "broken", "; ".join(changes), after)
    if unseen := unseen_weights(receipt, weights):
        return Link(name, "unchecked", f"not there: {', '.join(unseen)}")
    return Link(name, "holds")


def _verify_input_files(manifest: RunManifest, after: tuple[Stage, ...]) -> Link:
    inputs = changed_inputs(manifest)
    if changed := [f"{one.field} is not the file it was made from: {one.path}" for one in inputs if one.sha256]:
        return Link("stage1/inputs", "broken", "; ".join(changed), after)
    if absent := [f"{one.field} ({one.path})" for one in inputs]:
        return Link("stage1/inputs", "unchecked", f"not there: {', '.join(absent)}")
    return Link("stage1/inputs", "holds")


def _link(name: str, findings: list[str], invalidates: tuple[Stage, ...]) -> Link:
    return Link(name, "broken", "; ".join(findings), invalidates) if findings else Link(name, "holds")
