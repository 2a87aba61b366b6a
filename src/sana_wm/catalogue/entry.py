"""One run as a list of runs shows it. Whatever is wrong with it is said in its line, and stops nobody."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sana_wm.drafting.presets import PRESETS
from sana_wm.errors import HandoffError, ManifestError
from sana_wm.manifest.field_table import manifest_fields
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.plain_files import open_plain
from sana_wm.progress.run_record import RunEnd, read_elapsed_s
from sana_wm.progress.status import StatusReader
from sana_wm.runs.chain import stages_due
from sana_wm.runs.inventory import RunFile, disk_bytes, list_files
from sana_wm.runs.lock import read_owner
from sana_wm.runs.receipts import Receipt, flatten, read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.sealed import MAX_BYTES

#: `running`: somebody holds it now. `damaged`: what it left is not what it says. `unreadable`: it cannot be looked at.
State = Literal["finished", "unfinished", "running", "damaged", "unreadable"]


@dataclass(frozen=True)
class Entry:
    """A run.

    Attributes:
        run: Its directory.
        state: How it is, by its receipts and the sizes of its files; nothing is hashed.
        stage: The one that runs, or comes next.
        detail: What the state does not say by itself, in words.
        manifest: What runs in it; `None` where that cannot be read.
        manifest_sha256: Of its file, by which a run that was made from it names it.
        files: All that lies in it.
    """

    run: RunDirectory
    state: State
    stage: Stage | None = None
    detail: str | None = None
    manifest: RunManifest | None = None
    manifest_sha256: str | None = None
    files: tuple[RunFile, ...] = ()

    @property
    def path(self) -> Path:
        """Of its directory."""
        return self.run.path

    @property
    def size_bytes(self) -> int:
        """On the disk, content with several names counted once."""
        return disk_bytes(self.files)

    @property
    def shared_bytes(self) -> int:
        """Of it, what has a name outside of the run, too: another run uses the same."""
        return sum(file.size_bytes for file in {one.identity: one for one in self.files if one.links > 1}.values())

    @property
    def seconds(self) -> float | None:
        """Length of its video, made or to be made."""
        if self.manifest is None:
            return None
        video = self.manifest.video
        return (video.num_frames - self.manifest.dropped_frames) / video.fps

    @property
    def elapsed_s(self) -> float | None:
        """What a finished run took, all its starts together, as `status` and the report say it."""
        return read_elapsed_s(self.run) if self.state == "finished" else None

    @property
    def thumbnail(self) -> Path | None:
        """What to look at: the contact sheet, else the preview, else the newest picture of a step."""
        pictures = [self.run.contact_sheet_file, self.run.preview_file]
        pictures += sorted((self.path / "previews").glob("*.png"), reverse=True)
        return next((path for path in pictures if path.is_file()), None)

    @property
    def state_words(self) -> str:
        """`finished`, `unfinished: refiner is next`, `running: stage1`, `damaged: …`."""
        told = self.stage and (f"{self.stage} is next" if self.state == "unfinished" else self.stage)
        if self.detail is not None:
            told = self.detail if told is None else f"{told} ({self.detail})"
        return self.state if told is None else f"{self.state}: {told}"

    def as_json(self) -> dict[str, Any]:
        """By name, for `--json`."""
        manifest, thumbnail = self.manifest, self.thumbnail
        made_from = manifest.made_from if manifest is not None else None
        return {
            "path": str(self.path),
            "name": manifest and manifest.name,
            "state": self.state,
            "stage": self.stage,
            "detail": self.detail,
            "variant": manifest and manifest.model.variant,
            "preset": preset_of(manifest) if manifest is not None else None,
            "settings": describe_settings(manifest) if manifest is not None else None,
            "seconds": self.seconds,
            "elapsed_s": self.elapsed_s,
            "size_bytes": self.size_bytes,
            "shared_bytes": self.shared_bytes,
            "thumbnail": None if thumbnail is None else str(thumbnail),
            "made_from": made_from and made_from.model_dump(mode="json"),
        }


def describe_settings(manifest: RunManifest) -> str:
    """What decides how a run looks and what it costs, in a few words."""
    stage1, video = manifest.stage1, manifest.video
    guidance = f", guidance {stage1.guidance_scale:g}" if stage1.guidance_scale > 1 else ""
    if guidance and stage1.guidance_until < 1:
        guidance += f" in {stage1.guidance_until:.0%} of them"
    return (
        f"{' '.join(filter(None, [manifest.model.variant, preset_of(manifest)]))}, {stage1.num_inference_steps} steps"
        f"{guidance}, {'refined' if manifest.refiner.enabled else 'not refined'}, seed {stage1.seed}, "
        f"{video.width}x{video.height}"
    )


def preset_of(manifest: RunManifest) -> str | None:
    """The preset that a run looks made by: all that it sets and that changes the video is as it says."""
    variant, values = manifest.model.variant, flatten(manifest.model_dump(mode="json"))
    for name, preset in PRESETS.items():
        settings = preset.settings.get(variant, {})
        telling = [field for field in settings if manifest_fields()[field].facts.steers]
        if telling and all(values[field] == settings[field] for field in telling):
            return name
    return None


def read_entry(run: RunDirectory) -> Entry:
    """A run directory as it is now; takes no lock, changes nothing, raises nothing."""
    try:
        manifest = run.read_manifest()
        files = list_files(run, manifest)
        seen = _look(run, manifest)
        with open_plain(run.manifest_file) as file:
            sha256 = hashlib.sha256(file.read(MAX_BYTES)).hexdigest()
    except HandoffError as error:
        is_foreign_text = isinstance(error.__cause__, OSError | ManifestError)
        return Entry(run, "unreadable" if is_foreign_text else "damaged", detail=_short(error), files=_files_of(run))
    except OSError as error:
        return Entry(run, "unreadable", detail=error.strerror or str(error), files=_files_of(run))
    return Entry(run, *seen, manifest=manifest, manifest_sha256=sha256, files=files)


def _look(run: RunDirectory, manifest: RunManifest) -> tuple[State, Stage | None, str | None]:
    """State, stage and detail of a run whose manifest can be read."""
    owner = read_owner(run)
    may_run = RunEnd.read(run) is None and owner is not None and (owner.lives() or owner.is_elsewhere())
    missing: Stage | None = None
    findings: list[str] = []
    for stage in stages_due(run, manifest):
        try:
            receipt = read_receipt(run, stage)
        except HandoffError as error:
            findings.append(_short(error))
            continue
        if receipt is None:
            missing = missing or stage
        elif missing is None:
            findings += _missing_or_cut(run, receipt)
    if may_run or (missing is not None and not findings):
        look = StatusReader(run).look()
        if look.state in ("running", "stopping"):
            return "running", look.stage, look.note
        if missing is not None and not findings:
            return "unfinished", missing, look.state if look.state in ("failed", "interrupted") else look.note
    if findings:
        return "damaged", None, "; ".join(findings)
    return "finished", None, None


def _missing_or_cut(run: RunDirectory, receipt: Receipt) -> list[str]:
    """Outputs that are gone, but not on purpose, or of another size; their content is for `verify` to hash."""
    findings: list[str] = []
    for name, output in receipt.outputs.items():
        try:
            size_bytes = (run.path / name).lstat().st_size
        except FileNotFoundError:
            findings += [] if name in receipt.pruned else [f"{name} is missing"]
            continue
        if size_bytes != output.size_bytes:
            findings.append(f"{name} has {size_bytes} bytes of {output.size_bytes}")
    return findings


def _files_of(run: RunDirectory) -> tuple[RunFile, ...]:
    try:
        return list_files(run)
    except OSError:
        return ()


def _short(error: HandoffError) -> str:
    """An error in few words: what is wrong, without what to do."""
    return error.what if error.got is None else f"{error.what} ({str(error.got).splitlines()[0]})"
