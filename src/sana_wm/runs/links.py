"""What a receipt says, held against what is there now, one kind at a time: `sana_wm.runs.chain` walks over them.

Every finding is a text, none an exception. A receipt records all of it, and is itself sealed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sana_wm.durable import sha256_of
from sana_wm.errors import HandoffError
from sana_wm.manifest.field_table import field_defaults
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.pipeline import PIPELINE
from sana_wm.runs.receipts import Receipt, changed_fields, current_versions, read_receipt, stage_settings
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.weights.manifest_layout import WeightFile


@dataclass(frozen=True)
class ChangedInput:
    """An input file that is not the one that a run was made from.

    Attributes:
        field: Of the manifest.
        path: Where it lies, or should.
        sha256: Of what is there now; `None` when nothing is.
    """

    field: str
    path: Path
    sha256: str | None


def changed_inputs(manifest: RunManifest, picture: Path | None = None) -> list[ChangedInput]:
    """The picture, poses and intrinsics that are not what they were; the prompt's text stands in the manifest.

    Args:
        manifest: Of the run.
        picture: Stands in for its first frame.
    """
    changed: list[ChangedInput] = []
    for field, file in manifest.inputs.items():
        if field == "input.prompt_file":
            continue
        path = picture if field == "input.image" and picture is not None else Path(file.path).expanduser()
        sha256 = sha256_of(path) if path.is_file() else None
        if sha256 != file.sha256:
            changed.append(ChangedInput(field, path, sha256))
    return changed


def require_inputs(manifest: RunManifest, stage: Stage) -> None:
    """Before a stage reads its input files: whether they are the run's.

    Raises:
        HandoffError: One is not.
    """
    read = PIPELINE[stage].input_files(manifest)
    for changed in changed_inputs(manifest):
        if changed.field in read:
            raise HandoffError(
                f"{changed.field} changed since the run began: {changed.path}",
                got=f"SHA-256 {changed.sha256}" if changed.sha256 else "no file",
                expected=manifest.inputs[changed.field].sha256,
                next_step="Put the file back, or start a new run with run-pipeline.",
            )


class Provenance(Protocol):
    """Where something comes from: as a receipt says it, or the beginning of a stage."""

    @property
    def stage(self) -> Stage:
        """By which stage."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Under which manifest fields."""
        ...

    @property
    def weights(self) -> tuple[WeightFile, ...]:
        """With which weight files."""
        ...


def changed_settings(then: Provenance, manifest: RunManifest) -> list[str]:
    """Manifest fields of the stage that are not what it ran under: `stage1.seed: 42 -> 43`.

    A field that was not known then came with a later release: it had the value that is the default now.
    """
    now = stage_settings(manifest, then.stage)
    unknown_then = {name: value for name, value in field_defaults().items() if name in now}
    return changed_fields(unknown_then | then.settings, now)


def changed_weights(then: Provenance, weights: Sequence[WeightFile]) -> list[str]:
    """Weight files that are not the ones it ran with.

    Weights that are not there at all, on a volume that is not mounted, say nothing against what they made.
    """
    there = {file.component for file in weights}
    return [
        f"{file.component} ({file.file}) is not the file it ran with"
        for file in then.weights
        if file.component in there and file not in weights
    ]


def unseen_weights(receipt: Receipt, weights: Sequence[WeightFile]) -> list[str]:
    """Components that it ran with and that are not there now."""
    there = {file.component for file in weights}
    return list(dict.fromkeys(file.component for file in receipt.weights if file.component not in there))


def foreign_inputs(run: RunDirectory, receipt: Receipt, source: Stage | None) -> list[str]:
    """Files of the stage `source` that are not the ones it was made from."""
    if source is None:
        return []
    name = run.name_of(run.latents_file(source))
    if name not in receipt.inputs:
        return [f"its receipt does not name its input {name}"]
    try:
        maker = read_receipt(run, source)
    except HandoffError:
        maker = None  # reported where that stage itself is judged
    if maker is None or name not in maker.outputs or maker.outputs[name].sha256 != receipt.inputs[name]:
        return [f"its input {name} is not the one it was made from"]
    return []


def changed_results(receipt: Receipt) -> list[str]:
    """Whether this release makes other numbers on purpose."""
    now = PIPELINE[receipt.stage].results_version
    if receipt.results_version == now:
        return []
    return [
        f"sana-wm {receipt.package_version} made it, and {current_versions()['sana_wm']} makes other numbers "
        f"(results version {receipt.results_version} -> {now})"
    ]


def changed_versions(receipt: Receipt) -> list[str]:
    """Versions of code and libraries that differ: worth a word, never a reason to run again (docs/runs.md)."""
    now = current_versions()
    return [f"{name} {then} -> {now[name]}" for name, then in receipt.versions.items() if now.get(name, then) != then]


def damaged_outputs(run: RunDirectory, receipt: Receipt, *, apart_from: Collection[str] = ()) -> list[str]:
    """What is wrong with a stage's outputs: not named, missing, a link, another size, another content.

    Args:
        run: The run directory.
        receipt: Of the stage.
        apart_from: Outputs that the caller can do without.
    """
    needed = [run.name_of(path) for path in run.outputs(receipt.stage)]
    findings = [f"its receipt does not name {name}" for name in needed if name not in receipt.outputs]
    for name, expected in receipt.outputs.items():
        if name in apart_from:
            continue
        path = run.path / name
        if not _is_inside(run, name):
            findings.append(f"{name} is no file inside the run directory")
        elif not path.is_file():
            pruned = f"{name} was pruned: resume --from {receipt.stage} makes it again"
            findings.append(pruned if name in receipt.pruned else f"{name} is missing")
        elif (size_bytes := path.stat().st_size) != expected.size_bytes:
            findings.append(f"{name} has {size_bytes} bytes, its receipt says {expected.size_bytes}")
        elif sha256_of(path) != expected.sha256:
            findings.append(f"{name} is not the file its receipt names (SHA-256 differs)")
    return findings


def pruned_outputs(run: RunDirectory, receipt: Receipt) -> list[str]:
    """A stage's outputs that somebody removed on purpose, and that are not there: what was made from them stays."""
    return [name for name in receipt.pruned if not os.path.lexists(run.path / name)]


def has_pruned_latents(run: RunDirectory, stage: Stage) -> bool:
    """Whether what a stage left for the next was removed on purpose: whoever reads it has to have it made again."""
    try:
        receipt = read_receipt(run, stage)
    except HandoffError:
        return False  # such a stage runs again anyway
    return receipt is not None and run.name_of(run.latents_file(stage)) in pruned_outputs(run, receipt)


def _is_inside(run: RunDirectory, name: str) -> bool:
    """Whether a name of a receipt is a path below the run directory, without `..` or a link on its way."""
    parts = Path(name).parts
    way = [run.path.joinpath(*parts[: count + 1]) for count in range(len(parts))]
    return not Path(name).is_absolute() and ".." not in parts and not any(path.is_symlink() for path in way)
