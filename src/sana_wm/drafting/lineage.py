"""The run that a new one is made from: found by its directory or a video of it, and named in the new manifest."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sana_wm.drafting.new_manifest import manifest_of_run
from sana_wm.durable import sha256_of
from sana_wm.errors import HandoffError
from sana_wm.manifest.field_table import field_defaults, manifest_fields
from sana_wm.manifest.lineage import MadeFrom, Verb
from sana_wm.manifest.loading import escape_variables
from sana_wm.manifest.portable import rerun_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.runs.chain import stages_due
from sana_wm.runs.links import changed_inputs, changed_settings, damaged_outputs, pruned_outputs
from sana_wm.runs.receipts import flatten, read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.variants import fill_taught
from sana_wm.video.reader import probe

Json = dict[str, Any]
#: What every new run has of its own, whatever is changed.
OF_ITS_OWN = ("name", "output_dir", "video.frames_dir", "made_from")


@dataclass(frozen=True)
class Parent:
    """The run that a new one is made from.

    Attributes:
        path: Its directory, where it lies or lay.
        manifest: What it ran.
        manifest_sha256: Of its `manifest.json`.
    """

    path: Path
    manifest: RunManifest
    manifest_sha256: str

    @classmethod
    def of(cls, run: RunDirectory) -> Parent:
        """A run directory that is there.

        Raises:
            HandoffError: It is none.
        """
        return cls(run.path.absolute(), run.read_manifest(), sha256_of(run.manifest_file))

    def require_inputs(self) -> None:
        """Whether the picture and the other inputs are those that the run was made from.

        Raises:
            HandoffError: One is not.
        """
        for changed in changed_inputs(self.manifest):
            raise HandoffError(
                f"{changed.field} changed since the run was made: {changed.path}",
                got=f"SHA-256 {changed.sha256}" if changed.sha256 else "no file",
                expected=self.manifest.inputs[changed.field].sha256,
                next_step="Put the file back: the new run begins with the same.",
            )


def require_whole(
    run: RunDirectory, manifest: RunManifest, stages: Collection[Stage], *, apart_from: Collection[str] = ()
) -> None:
    """Whether a run is finished, and stages of it still have what a new run reads of them.

    Args:
        run: The run directory.
        manifest: Its.
        stages: Those that are read; one that the manifest does not run is passed over.
        apart_from: Outputs, by their names within the run directory, that the new run can do without.

    Raises:
        HandoffError: It is not finished, or something is gone or another; names the command that makes it again.
    """
    receipts = {stage: read_receipt(run, stage) for stage in stages_due(run, manifest)}
    if unfinished := [stage for stage, receipt in receipts.items() if receipt is None]:
        raise HandoffError(
            f"{run.path} is not finished",
            got=f"no receipt of {', '.join(unfinished)}",
            expected="a finished run",
            next_step=f"Finish it: {run.resume_command}",
        )
    for receipt in (receipts[stage] for stage in stages if stage in receipts):
        if receipt is None:
            continue
        if findings := changed_settings(receipt, manifest) or damaged_outputs(run, receipt, apart_from=apart_from):
            # What was removed on purpose is no damage, which a plain resume would mend.
            pruned = set(pruned_outputs(run, receipt)) - set(apart_from)
            mend = f"{run.resume_command} --from {receipt.stage}" if pruned else run.resume_command
            raise HandoffError(
                f"{run.path} is not whole",
                got="; ".join(findings),
                expected="what it left",
                next_step=f"Look at it with: sana-wm verify {shlex.quote(str(run.path))}; mend it with: {mend}",
            )


def find_parent(source: Path) -> Parent:
    """The run that a user names by its directory or by a video of it, wherever either lies now.

    A video whose run is gone gives what it carries of its manifest; nothing can be taken over then.

    Args:
        source: A run directory or an MP4, absolute.

    Raises:
        UsageError: The video carries no manifest.
        HandoffError: Neither a run directory nor a video.
    """
    if source.is_dir():
        return Parent.of(RunDirectory(source))
    manifest = manifest_of_run(source)
    sha256 = probe(source).metadata.get("manifest_sha256", "")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise HandoffError(
            f"{source} does not say which manifest.json it was made by", got=repr(sha256), expected="its SHA-256"
        )
    made_in = Path(manifest.output_dir).expanduser()
    for run in (RunDirectory(source.parent), RunDirectory(made_in)):
        if run.is_ours() and run.manifest_file.is_file() and sha256_of(run.manifest_file) == sha256:
            return Parent.of(run)
    return Parent(made_in, manifest, sha256)


def made_from(parent: Parent, verb: Verb, data: Mapping[str, Any], frame: int | None = None) -> Json:
    """The manifest's `made_from`, as its file holds it.

    Args:
        parent: The run.
        verb: What makes another from it.
        data: The new manifest, as its file will hold it.
        frame: Of the parent's video, counted from 0, where one was taken.
    """
    section = MadeFrom(
        verb=verb,
        run=str(parent.path),
        manifest_sha256=parent.manifest_sha256,
        frame=frame,
        changed=changed_names(rerun_manifest(parent.manifest), data),
    )
    written = section.model_dump(mode="json")
    return written | {"run": escape_variables(written["run"])}


def changed_names(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields in which two manifests differ, in the manifest's order; what one does not say has its default."""
    defaults = field_defaults()
    then, now = (defaults | flatten(fill_taught(data)) for data in (before, after))
    return tuple(name for name in manifest_fields() if name not in OF_ITS_OWN and then.get(name) != now.get(name))
