"""What the report says of a run: receipts and their check, sizes, versions; gathered once, drawn elsewhere."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sana_wm.errors import HandoffError
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES, Stage
from sana_wm.pipeline import PIPELINE
from sana_wm.plain_files import open_plain
from sana_wm.progress.status import StatusReader
from sana_wm.report.latents import LatentStatistics, measure_latents
from sana_wm.runs.chain import is_passed_by, walk_stage
from sana_wm.runs.receipts import Receipt, read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.sealed import MAX_BYTES
from sana_wm.video.reader import describe_video

NOT_LOOKED_AT = "not made, and not needed any more"


@dataclass(frozen=True)
class StageFacts:
    """One stage as its receipt has it.

    Attributes:
        stage: Its name.
        off: Why there is none, if there shall be none.
        receipt: What it left; `None` when it is not done, or its receipt is damaged.
        findings: What does not match, in words; empty when everything does.
    """

    stage: Stage
    off: str | None
    receipt: Receipt | None
    findings: tuple[str, ...]

    @property
    def times_s(self) -> dict[str, float]:
        """Seconds by phase, as far as the receipt has them."""
        return self.receipt.seconds_by_phase if self.receipt is not None else {}

    @property
    def left_device_bytes(self) -> int | None:
        """The most that a phase left on the device; `None` where the device cannot say."""
        phases = self.receipt.phases if self.receipt is not None else ()
        left = [phase.after_release_bytes for phase in phases]
        return max((count for count in left if count is not None), default=None)


@dataclass(frozen=True)
class RunFacts:
    """Everything of a run but its drawings.

    Attributes:
        run: The run directory.
        manifest: What really ran.
        metrics: `metrics.json`, empty where there is none.
        stages: In order.
        elapsed_s: What it took, all its starts together, as `sana-wm status` says it.
        video: Length and size of the video, in words; `None` when there is none.
        latents: Statistics by path within the run directory.
        unreadable: Why nothing is said of a file, by path.
    """

    run: RunDirectory
    manifest: RunManifest
    metrics: Mapping[str, Any]
    stages: tuple[StageFacts, ...]
    elapsed_s: float | None
    video: str | None
    latents: Mapping[str, LatentStatistics]
    unreadable: Mapping[str, str]

    @property
    def versions(self) -> dict[str, str]:
        """Of what computed, by package; several where stages differ."""
        found: dict[str, list[str]] = {}
        for stage in self.stages:
            if stage.receipt is not None:
                for name, version in stage.receipt.versions.items():
                    found.setdefault(name, []).append(version)
        return {name: ", ".join(dict.fromkeys(versions)) for name, versions in found.items()}

    @property
    def times_s(self) -> dict[tuple[Stage, str], float]:
        """Seconds by stage and phase, over all starts; of a stage that an earlier release made, its last process's."""
        return {(stage.stage, phase): seconds for stage in self.stages for phase, seconds in stage.times_s.items()}

    @property
    def peak_bytes(self) -> int | None:
        """The most memory that a stage's processes took; `None` where no receipt says."""
        processes = [stage.receipt.process for stage in self.stages if stage.receipt is not None]
        peaks = [process.peak_process_bytes for process in processes if process is not None]
        return max((count for count in peaks if count is not None), default=None)

    @property
    def findings(self) -> tuple[str, ...]:
        """What does not match a receipt, of all stages."""
        return tuple(f"{stage.stage}: {finding}" for stage in self.stages for finding in stage.findings)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What in the results deserves a look, of all stages."""
        receipts = [stage.receipt for stage in self.stages if stage.receipt is not None]
        return tuple(f"{receipt.stage}: {warning}" for receipt in receipts for warning in receipt.warnings)

    @property
    def again_command(self) -> str:
        """What makes the run once more beside itself, for a shell: a manifest, then its run."""
        again = self.run.path.with_name(f"{self.run.path.name}-again")
        run, new, manifest = (shlex.quote(str(path)) for path in (self.run.path, again, f"{again}.json"))
        write = f"sana-wm init-manifest --like {run} --output-dir {new} --out {manifest}"
        return f"{write} && sana-wm run-pipeline {manifest}"

    @property
    def is_finished(self) -> bool:
        """Whether every stage has left a receipt."""
        return all(stage.off or stage.receipt is not None for stage in self.stages)


def gather_run_facts(run: RunDirectory) -> RunFacts:
    """Read a run directory and hold its receipts against its files.

    Raises:
        HandoffError: It is no run directory.
    """
    manifest = run.read_manifest()
    latents, unreadable = _measure_all(run)
    return RunFacts(
        run=run,
        manifest=manifest,
        metrics=_read_metrics(run),
        stages=tuple(_check_stage(run, manifest, stage) for stage in STAGES),
        elapsed_s=StatusReader(run).look().elapsed_s,
        video=_describe_video(run, unreadable),
        latents=latents,
        unreadable=unreadable,
    )


def _check_stage(run: RunDirectory, manifest: RunManifest, stage: Stage) -> StageFacts:
    why_off = PIPELINE[stage].off(manifest) or (NOT_LOOKED_AT if is_passed_by(run, stage) else None)
    if why_off is not None:
        return StageFacts(stage, why_off, receipt=None, findings=())
    broken = [link for link in walk_stage(run, manifest, stage) if not link.is_whole]
    is_legible = not any(link.name == f"{stage}/receipt" for link in broken)
    receipt = read_receipt(run, stage) if is_legible else None
    return StageFacts(stage, None, receipt=receipt, findings=tuple(link.reason for link in broken))


def _describe_video(run: RunDirectory, unreadable: dict[str, str]) -> str | None:
    if not run.video_file.is_file():
        return None
    try:
        return describe_video(run.video_file)
    except HandoffError as error:
        unreadable[run.name_of(run.video_file)] = str(error)
        return None


def _measure_all(run: RunDirectory) -> tuple[dict[str, LatentStatistics], dict[str, str]]:
    latents: dict[str, LatentStatistics] = {}
    unreadable: dict[str, str] = {}
    for path in (run.stage1_file, run.refined_file):
        name = run.name_of(path)
        if path.is_file():
            try:
                latents[name] = measure_latents(path)
            except HandoffError as error:
                unreadable[name] = str(error)
    return latents, unreadable


def _read_metrics(run: RunDirectory) -> dict[str, Any]:
    try:
        with open_plain(run.metrics_file) as file:
            metrics = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return metrics if isinstance(metrics, dict) else {}
