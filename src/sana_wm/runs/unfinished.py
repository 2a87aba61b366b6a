"""What a stage was begun with, kept beside its checkpoints: who goes on must get the bits that nobody interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sana_wm.backends import Backend
from sana_wm.durable import remove_tree, write_durably
from sana_wm.errors import HandoffError
from sana_wm.machine import version_of
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.pipeline import PIPELINE
from sana_wm.runs.links import changed_settings, changed_weights
from sana_wm.runs.receipts import Record, changed_fields
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.weights.manifest_layout import WeightFile

#: In the names of what earlier releases left of interrupted writes; ours are hidden files.
EARLIER_PART = ".part."


class Beginning(Record):
    """How a stage was begun.

    Attributes:
        version: Of this file.
        stage: The stage.
        source_sha256: Of the file of an earlier stage that it reads; empty when it reads none.
        settings: The manifest fields that steer it, as in its receipt.
        weights: The weight files that it reads.
        computed_by: Libraries, chip, dtype: with others it could go on, and would not give the same bits.
    """

    version: Literal[1] = 1
    stage: Stage
    source_sha256: str
    settings: dict[str, Any]
    weights: tuple[WeightFile, ...]
    computed_by: dict[str, str]


def read_beginning(run: RunDirectory, stage: Stage) -> Beginning | None:
    """How a stage was begun; `None` when nothing says so, or what says so is damaged."""
    try:
        return Beginning.model_validate_json(run.beginning_file(stage).read_bytes())
    except (OSError, ValueError):
        return None


def is_unfinished(run: RunDirectory, stage: Stage) -> bool:
    """Whether an interrupted stage left anything to go on from."""
    folder = run.checkpoint_folder(stage)
    present = folder.iterdir() if folder.is_dir() else ()
    ours = (path for path in present if not path.name.startswith(".") and EARLIER_PART not in path.name)
    return any(path != run.beginning_file(stage) for path in ours)


def versions_that_count(backend: Backend, stage: Stage) -> dict[str, str]:
    """Versions that an unfinished stage depends on. Python's is none of them, and a release of ours says it itself."""
    packages = {name: version_of(name) or "missing" for name in backend.packages}
    return {**packages, "results_version": str(PIPELINE[stage].results_version)}


def reasons_to_refuse(
    run: RunDirectory,
    manifest: RunManifest,
    stage: Stage,
    weights: Sequence[WeightFile],
    computed_by: dict[str, str],
) -> list[str]:
    """Why an unfinished stage cannot go on here, in words: `torch: "2.14.1" -> "2.15.0"`.

    Args:
        run: The run directory.
        manifest: What shall run.
        stage: The stage.
        weights: The weight files as they are now.
        computed_by: What would go on, as far as the caller knows it.
    """
    if not is_unfinished(run, stage):
        return []
    begun = read_beginning(run, stage)
    if begun is None:
        return [f"{run.name_of(run.beginning_file(stage))}, which says what began it, is damaged or missing"]
    then = {name: begun.computed_by.get(name) for name in computed_by}
    return [
        *changed_settings(begun, manifest),
        *changed_weights(begun, weights),
        *changed_fields(then, dict(computed_by)),
    ]


def refuse_others_work(
    run: RunDirectory, manifest: RunManifest, stage: Stage, weights: Sequence[WeightFile], computed_by: dict[str, str]
) -> None:
    """Refuse to go on with what others have begun; arguments as of `reasons_to_refuse`.

    Raises:
        HandoffError: The stage was unfinished with other settings, weights or libraries, or on another chip.
    """
    if reasons := reasons_to_refuse(run, manifest, stage, weights, computed_by):
        raise HandoffError(
            f"stage {stage} is unfinished, and not by what would go on",
            got="; ".join(reasons),
            expected="the settings, weights, libraries and chip that began it: others do not give the same bits",
            next_step=f"Go on with those, or start the stage over: {run.resume_command} --from {stage}",
        )


def begin(run: RunDirectory, manifest: RunManifest, here: Beginning) -> None:
    """Begin a stage, or go on with it.

    What is unfinished of another source, such as the refinement of other latents, is removed.

    Raises:
        HandoffError: It was unfinished with other settings, weights or libraries, or on another chip.
    """
    stage = here.stage
    begun = read_beginning(run, stage)
    if begun is not None and begun.source_sha256 != here.source_sha256:
        remove_tree(run.checkpoint_folder(stage))
    refuse_others_work(run, manifest, stage, here.weights, here.computed_by)
    if not is_unfinished(run, stage):
        write_durably(run.beginning_file(stage), here.model_dump_json(indent=2) + "\n")
