"""Where a new run comes from, written into its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sana_wm.durable import sha256_of
from sana_wm.manifest.field_table import manifest_fields
from sana_wm.manifest.lineage import MadeFrom, Verb
from sana_wm.manifest.loading import escape_variables
from sana_wm.manifest.portable import rerun_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.runs.receipts import flatten
from sana_wm.runs.run_directory import RunDirectory

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


def made_from(parent: Parent, verb: Verb, data: Mapping[str, Any], frame: int | None = None) -> Json:
    """The manifest's `made_from`, as its file holds it.

    Args:
        parent: The run.
        verb: What makes another from it.
        data: The new manifest, every default written out.
        frame: Of the parent, counted from 0, where one was taken.
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
    """The fields in which two manifests differ that have every default written out, in the manifest's order."""
    then, now = flatten(dict(before)), flatten(dict(after))
    return tuple(name for name in manifest_fields() if name not in OF_ITS_OWN and then.get(name) != now.get(name))
