"""Walks the hash chain of a whole run, and says which links are broken and what each one invalidates.

manifest (seal) -> the links of each stage (`sana_wm.runs.chain`) -> metrics. Nothing is changed, and nothing is trusted
because another link holds.
"""

from __future__ import annotations

from dataclasses import replace

from sana_wm.errors import HandoffError
from sana_wm.names import STAGES, Stage
from sana_wm.pipeline import source_of, stages_from
from sana_wm.runs.chain import Link, hold, hold_outputs, stages_due, walk_stage
from sana_wm.runs.links_refused import refuse_links
from sana_wm.runs.metrics import metrics_findings
from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory


def verify(run: RunDirectory) -> list[Link]:
    """Hold every link of a run directory against what is there.

    Raises:
        HandoffError: It is no run directory, or holds a link: nothing is read through one.
    """
    refuse_links(run.path)
    if not run.is_ours():
        run.read_manifest()  # says so
    try:
        manifest = run.read_manifest()
    except HandoffError as error:
        return [Link("manifest", "broken", (str(error),), STAGES), *_verify_outputs_alone(run)]
    links = [Link("manifest", "holds")]
    to_come: set[Stage | None] = set()
    for stage in stages_due(run, manifest):
        if source_of(manifest, stage) in to_come:  # what is made from it is made anew, too
            links.append(Link(f"{stage}/receipt", "unfinished", ("after a stage that is to come",)))
        else:
            links += walk_stage(run, manifest, stage)
            if links[-1].state == "unfinished":
                links[-1] = _judge_missing_receipt(run, links[-1])
        if links[-1].state == "unfinished":
            to_come.add(stage)
    if all(link.is_whole for link in links):
        links.append(hold("metrics", metrics_findings(run), ()))
    return links


def _judge_missing_receipt(run: RunDirectory, link: Link) -> Link:
    """A run that went on to its end had one."""
    if run.metrics_file.exists():  # written at the end of every start
        return replace(link, state="broken")
    return Link(link.name, "unfinished", ("none yet",))


def _verify_outputs_alone(run: RunDirectory) -> list[Link]:
    """What can be said without the manifest: whether outputs are those of their receipts."""
    links: list[Link] = []
    for stage in STAGES:
        try:
            receipt = read_receipt(run, stage)
        except HandoffError as error:
            links.append(Link(f"{stage}/receipt", "broken", (str(error),), stages_from(stage)))
            continue
        if receipt is not None:
            links.append(hold_outputs(run, receipt, stages_from(stage)))
    return links
