"""Receipts: what a stage had, what it made and what that cost; written last, trusted only when every hash matches."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from sana_wm import __version__
from sana_wm.durable import sha256_of
from sana_wm.errors import HandoffError
from sana_wm.manifest.field_table import field_defaults, manifest_fields
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.records import Record
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.sealed import read_sealed, write_sealed
from sana_wm.weights.manifest_layout import WeightFile

#: What CUDA libraries may keep in workspaces of their own, which no tensor holds; recorded, and not a leak.
WORKSPACE_BYTES = 64 * 1024**2


class OutputFile(Record):
    """A file that a stage left."""

    sha256: str
    size_bytes: int


class PhaseRecord(Record):
    """Time and memory of one phase in the stage's last process. Device figures are `None` where it cannot say (cpu)."""

    name: str
    seconds: float
    peak_device_bytes: int | None
    after_release_bytes: int | None


class ProcessRecord(Record):
    """What the parent saw of the stage's process, children included; `None` where nothing could be read.

    `seconds` is the life of the last process, the start of Python included. Pairs are what the machine had left, and
    what was in use on its NVIDIA cards, right before and right after.
    """

    seconds: float = 0.0
    peak_process_bytes: int | None
    peak_device_bytes: int | None
    after_exit_processes: int
    after_exit_bytes: int
    system_available_bytes: tuple[int | None, int | None] = (None, None)
    cards_used_bytes: tuple[int | None, int | None] = (None, None)


class TakenFrom(Record):
    """The run whose stage it was: times, memory and versions are those of its process there."""

    run: str
    manifest_sha256: str


class Receipt(Record):
    """One finished stage.

    Attributes:
        warnings: What in its result is worth a look, in words.
        pruned: Outputs that were removed on purpose since: still what later stages were made from.
        phases: Of its last process: what an earlier start had done is not among them, or in part only.
        seconds: What the stage took, over all its processes.
        times_s: The same by phase, `starting` and `saving` included; empty until the launcher has added it.
        taken_from: Where it was made, if not here.
    """

    version: Literal[1] = 1
    stage: Stage
    package_version: str
    results_version: int = 1
    versions: dict[str, str]
    device: str
    dtype: str
    settings: dict[str, Any]
    weights: tuple[WeightFile, ...]
    inputs: dict[str, str]
    outputs: dict[str, OutputFile]
    plan: dict[str, Any]
    warnings: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()
    phases: tuple[PhaseRecord, ...]
    started_at: str
    finished_at: str
    seconds: float
    times_s: dict[str, float] = Field(default_factory=dict[str, float])
    process: ProcessRecord | None = None
    taken_from: TakenFrom | None = None

    @property
    def seconds_by_phase(self) -> dict[str, float]:
        """What each phase took, as far as that is known."""
        return self.times_s or {phase.name: phase.seconds for phase in self.phases}


def stage_settings(manifest: RunManifest, target: str) -> dict[str, Any]:
    """The manifest fields that steer a stage, or a part of one, flat: `{"stage1.seed": 42, …}`.

    Input files stand by their hash. The other fields (output_dir, memory, where the weights lie) may change freely
    between runs of one directory: weights are known by header, size and samples, not by their path.

    Args:
        manifest: Of the run.
        target: `stage1`, or `stage1/conditioning`.
    """
    flat = flatten(manifest.model_dump(mode="json", exclude={"inputs"}))
    chosen: dict[str, Any] = {}
    for name, field in manifest_fields().items():
        if not field.steers(target):
            continue
        is_file = field.facts.path == "input" and not isinstance(flat[name], list)
        for key, file in manifest.inputs.items():
            if key == name or key.startswith(f"{name}."):
                chosen[f"sha256 of {key}"] = file.sha256
        if not is_file:
            chosen[name] = flat[name]
    if (
        manifest.picture is not None
        and manifest.picture.converted_from
        and manifest_fields()["input.image"].steers(target)
    ):
        chosen["picture.converted_from"] = manifest.picture.converted_from  # earlier releases took such levels as sRGB
    if "video.frames_dir" in chosen and (folder := manifest.frames_within_output) is not None:
        chosen["video.frames_dir"] = str(folder)  # a run directory may move
    if manifest.camera.poses_fps is not None and manifest_fields()["camera.poses"].steers(target):
        chosen["video.fps"] = manifest.video.fps  # the path is resampled to it
    return chosen


def settings_digest(settings: dict[str, Any]) -> str:
    """SHA-256 of flat settings. Defaults do not count, so that a field that a release adds changes nothing."""
    defaults = field_defaults()
    chosen = {name: value for name, value in settings.items() if name not in defaults or value != defaults[name]}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def changed_fields(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What differs between two flat settings, in words: `stage1.seed: 42 -> 43`."""
    names = sorted(before.keys() | after.keys())
    return [
        f"{name}: {_show(before.get(name))} -> {_show(after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def describe_outputs(run: RunDirectory, files: tuple[Path, ...]) -> dict[str, OutputFile]:
    """Hash and size of output files, by their path within the run directory."""
    return {run.name_of(file): OutputFile(sha256=sha256_of(file), size_bytes=file.stat().st_size) for file in files}


def write_receipt(run: RunDirectory, receipt: Receipt) -> None:
    """Write a receipt durably, sealed: from here on the stage is done."""
    write_sealed(run.receipt_file(receipt.stage), receipt.model_dump_json(indent=2))


def read_receipt(run: RunDirectory, stage: Stage) -> Receipt | None:
    """The receipt of a stage, `None` when there is none.

    Raises:
        HandoffError: There is one, and it is damaged.
    """
    path = run.receipt_file(stage)
    if not path.exists():
        return None
    next_step = f"Run the stage again: {run.resume_command} --from {stage}"
    try:
        receipt = Receipt.model_validate_json(read_sealed(path, next_step=next_step))
    except ValidationError as error:
        raise HandoffError(
            f"receipt {path} is not of this version",
            got=str(error).splitlines()[0],
            expected="a receipt that this version wrote",
            next_step=next_step,
        ) from error
    if receipt.stage != stage:
        raise HandoffError(
            f"receipt {path} is of another stage", got=receipt.stage, expected=stage, next_step=next_step
        )
    return receipt


def current_versions() -> dict[str, str]:
    """Versions of what computes, as receipts record them; loads none of it."""
    libraries = {name: version(name) for name in ("torch", "diffusers", "transformers")}
    return {"python": platform.python_version(), "sana_wm": __version__, **libraries}


def _show(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
