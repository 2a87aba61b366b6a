"""Receipts: what a stage had, what it made and what that cost; written last, trusted only when every hash matches."""

from __future__ import annotations

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sana_wm import __version__
from sana_wm.durable import sha256_of
from sana_wm.errors import HandoffError
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.handoff.sealed import read_sealed, write_sealed
from sana_wm.manifest.model import Manifest, RunManifest
from sana_wm.names import Stage

#: Which manifest fields steer which stage, by prefix. The others (output_dir, memory, where the weights lie) may change
#: freely between runs of one directory: weights are known by header, size and samples, not by their path.
STAGE_FIELDS: dict[Stage, tuple[str, ...]] = {
    "stage1": (
        "model.backend",
        "input.",
        "camera.",
        "video.num_frames",
        "video.height",
        "video.width",
        "stage1.",
        "device",
        "dtype",
    ),
    "refiner": ("model.backend", "input.prompt", "video.fps", "refiner.", "device", "dtype"),
    "vae_decode": ("camera.", "video.", "vae_decode.", "refiner.enabled", "name", "device", "dtype"),
}
#: Fields under those prefixes that change how a stage works but not what it makes; input files count by their hash.
NEUTRAL_FIELDS = ("stage1.checkpoint_every", "stage1.preview_every", "input.image", "input.prompt_file", "camera.poses")
#: Raised when a release makes other numbers than the one before from the same settings, weights and libraries, on
#: purpose: what was made under a lower one is made again. Library versions alone never are a reason (docs/runs.md).
RESULTS_VERSION: dict[Stage, int] = {"stage1": 1, "refiner": 1, "vae_decode": 1}

#: What CUDA libraries may keep in workspaces of their own, which no tensor holds; recorded, and not a leak.
WORKSPACE_BYTES = 64 * 1024**2


class Record(BaseModel):
    """Base of what receipts hold: strict and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class OutputFile(Record):
    """A file that a stage left."""

    sha256: str
    size_bytes: int


class WeightFile(Record):
    """The cheap identity of a weight file, wherever it lies: weights may move to another volume."""

    component: str
    file: str
    size_bytes: int
    identity_sha256: str


class PhaseRecord(Record):
    """Time and memory of one phase. Device figures are `None` where the device cannot say (cpu)."""

    name: str
    seconds: float
    peak_device_bytes: int | None
    after_release_bytes: int | None


class ProcessRecord(Record):
    """What the parent saw of the stage's process, children included; `None` where nothing could be read.

    `seconds` is the life of the process, the start of Python included. Pairs are what the machine had left, and what
    was in use on its NVIDIA cards, right before and right after.
    """

    seconds: float = 0.0
    peak_process_bytes: int | None
    peak_device_bytes: int | None
    after_exit_processes: int
    after_exit_bytes: int
    system_available_bytes: tuple[int | None, int | None] = (None, None)
    cards_used_bytes: tuple[int | None, int | None] = (None, None)


class Receipt(Record):
    """One finished stage.

    Attributes:
        warnings: What in its result is worth a look, in words.
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
    phases: tuple[PhaseRecord, ...]
    started_at: str
    finished_at: str
    seconds: float
    process: ProcessRecord | None = None


def stage_settings(manifest: RunManifest, stage: Stage) -> dict[str, Any]:
    """The manifest fields that steer a stage, flat: `{"stage1.seed": 42, …}`. File fields stand by their hash."""
    flat = flatten(manifest.model_dump(mode="json", exclude={"inputs"}))
    prefixes = STAGE_FIELDS[stage]
    chosen = {
        name: value
        for name, value in flat.items()
        if name not in NEUTRAL_FIELDS
        and any(name == prefix or (prefix.endswith(".") and name.startswith(prefix)) for prefix in prefixes)
    }
    if "camera." in prefixes or "input." in prefixes:
        chosen |= {
            f"sha256 of {name}": file.sha256
            for name, file in manifest.inputs.items()
            if f"{name.split('.')[0]}." in prefixes
        }
    if "video.frames_dir" in chosen and (folder := manifest.frames_within_output) is not None:
        chosen["video.frames_dir"] = str(folder)  # a run directory may move
    if isinstance(chosen.get("camera.intrinsics"), str):
        del chosen["camera.intrinsics"]
    return chosen


@cache
def field_defaults() -> dict[str, Any]:
    """Every manifest field that has a default, flat."""

    def collect(model: type[BaseModel], prefix: str) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for name, field in model.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                flat |= collect(kind, f"{prefix}{name}.")
            elif not field.is_required():
                flat[f"{prefix}{name}"] = field.default
        return flat

    return collect(Manifest, "")


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
