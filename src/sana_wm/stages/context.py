"""What every stage works with: the run, its manifest, the device, events, the stop flag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sana_wm import __version__
from sana_wm.backends import Backend, backend_of, load_part
from sana_wm.durable import remove_tree, sha256_of
from sana_wm.errors import HandoffError
from sana_wm.machine import name_chip
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.models.engine import EngineSetup
from sana_wm.names import Stage
from sana_wm.pipeline import PIPELINE, source_of
from sana_wm.planning.forecast import RunForecaster
from sana_wm.runs import unfinished
from sana_wm.runs.events import StageDone, StepDone, StepsBegin, now_s
from sana_wm.runs.kept_parts import digest_of, part_metadata, weights_digest
from sana_wm.runs.receipts import (
    Receipt,
    current_versions,
    describe_outputs,
    read_receipt,
    settings_digest,
    stage_settings,
    write_receipt,
)
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runtime.checkpoints import Checkpoints
from sana_wm.runtime.device import empty_cache
from sana_wm.runtime.events import EventWriter
from sana_wm.runtime.latents import load_latents, save_tensors
from sana_wm.runtime.memory import EngineMemory
from sana_wm.runtime.phases import Phase, PhaseLog
from sana_wm.runtime.stopping import StopFlag
from sana_wm.weights.layout import WeightLayout
from sana_wm.weights.manifest_layout import WeightFile


@dataclass(frozen=True)
class Source:
    """The latents of an earlier stage.

    Attributes:
        stage: The stage that left them.
        path: Their file.
        sha256: Of it.
    """

    stage: Stage
    path: Path
    sha256: str


@dataclass(frozen=True)
class StageContext:
    """Everything a stage is given; it adds nothing global.

    `forecaster` says how the stage works within its memory budget, by the very functions of `sana-wm plan`.
    """

    stage: Stage
    run: RunDirectory
    manifest: RunManifest
    device: torch.device
    dtype: torch.dtype
    events: EventWriter
    stop: StopFlag
    phases: PhaseLog
    layout: WeightLayout
    weights: tuple[WeightFile, ...]
    forecaster: RunForecaster
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def budget_bytes(self) -> int:
        """Memory that the stage may plan with."""
        return self.forecaster.budget_bytes

    @property
    def latents_shape(self) -> tuple[int, int, int, int, int]:
        """(1, 128, F, h, w) of this run's latents."""
        return self.forecaster.latent_shape

    @cached_property
    def backend(self) -> Backend:
        """The engine that the manifest asks for."""
        return backend_of(self.manifest)

    @cached_property
    def engine_memory(self) -> EngineMemory:
        """Who answers for the device's memory while that engine computes."""
        return load_part(self.backend.memory)(self.device.type)

    def engine_setup(self, phase: Phase) -> EngineSetup:
        """What that engine is opened with in a phase."""
        return EngineSetup(
            layout=self.layout,
            device=self.device.type,
            dtype=str(self.dtype).removeprefix("torch."),
            budget_bytes=self.budget_bytes,
            model=self.manifest.model,
            stage1=self.manifest.stage1,
            refiner=self.manifest.refiner,
            fps=self.manifest.video.fps,
            hold=phase.hold,
        )

    def save_latents(self, latents: torch.Tensor) -> None:
        """Leave this stage's latents for the next, durably."""
        save_tensors(self.run.latents_file(self.stage), {"latents": latents}, {"stage": self.stage})

    @cached_property
    def source(self) -> Source | None:
        """The latents that this stage begins with, hashed once; `None` for a stage that begins with the inputs."""
        stage = source_of(self.manifest, self.stage)
        if stage is None:
            return None
        path = self.run.latents_file(stage)
        return Source(stage, path, sha256_of(path))

    def load_latents(self) -> torch.Tensor:
        """The latents that this stage begins with, (1, 128, F, h, w) float32 on the CPU.

        Raises:
            HandoffError: They are missing, damaged, of another shape, or not those of the stage's receipt.
        """
        source = self.source
        if source is None:
            raise LookupError(f"stage {self.stage} begins with no latents")
        receipt = read_receipt(self.run, source.stage)
        named = receipt and receipt.outputs.get(self.run.name_of(source.path))
        if named is None or named.sha256 != source.sha256:
            raise HandoffError(
                f"{source.path} is not what the receipt of {source.stage} names",
                got="no such entry" if named is None else "another SHA-256",
                expected="the latents that the stage left",
                next_step=f"Run {source.stage} again: {self.run.resume_command} --from {source.stage}",
            )
        return load_latents(source.path, {"stage": source.stage}, self.latents_shape)

    def kept(self, part: str) -> dict[str, str]:
        """Metadata of what this stage keeps for its next start, whatever latents that begins with."""
        return self._owner(part, f"{self.stage}/{part}", "")

    def kept_part(self, part: str, target: str) -> dict[str, str]:
        """Metadata by which a part of that is valid where the whole is not.

        Args:
            part: As of `kept`.
            target: What the part's fields steer: `stage1/conditioning/text`.
        """
        return {**self.made_from(part, ""), **part_metadata(self.manifest, target)}

    def parts_kept(self) -> dict[str, str]:
        """Metadata of every part of what this stage keeps, to be written beside that of the whole."""
        parts = (part_metadata(self.manifest, target) for target in PIPELINE[self.stage].parts)
        return {key: digest for part in parts for key, digest in part.items()}

    def resumable(self, part: str) -> dict[str, str]:
        """Metadata of unfinished work: valid for the same stage from the same latents only."""
        return self._owner(part, self.stage, self._source_sha256)

    def made_from(self, part: str, source_sha256: str) -> dict[str, str]:
        """Metadata of a part that is valid, in any run, for whoever has the same source, weights and libraries."""
        return {
            "stage": self.stage,
            "part": part,
            "weights_sha256": weights_digest(self.weights),
            "source_sha256": source_sha256,
            "computed_by": digest_of(self._computed_by()),
        }

    def _owner(self, part: str, target: str, source_sha256: str) -> dict[str, str]:
        settings = settings_digest(stage_settings(self.manifest, target))
        return {**self.made_from(part, source_sha256), "settings_sha256": settings}

    @property
    def _source_sha256(self) -> str:
        return self.source.sha256 if self.source is not None else ""

    def begin(self) -> None:
        """Begin the stage, or go on with what an interrupted start left.

        Raises:
            HandoffError: It is unfinished with other settings, weights or libraries, or on another chip.
        """
        here = unfinished.Beginning(
            stage=self.stage,
            source_sha256=self._source_sha256,
            settings=stage_settings(self.manifest, self.stage),
            weights=self.weights,
            computed_by=self._computed_by(),
        )
        unfinished.begin(self.run, self.manifest, here)

    def checkpoints(self) -> Checkpoints:
        """This stage's checkpoints."""
        return Checkpoints(self.run.checkpoint_folder(self.stage), self.resumable("checkpoint"))

    def versions(self) -> dict[str, str]:
        """Versions of what computes."""
        return {**current_versions(), **self._engine_code()}

    def _engine_code(self) -> dict[str, str]:
        """Versions of code of the engine's that is no installed package."""
        describe = self.backend.describe_code
        return load_part(describe)(self.manifest) if describe is not None else {}

    def _computed_by(self) -> dict[str, str]:
        """What has to stay the same for the same bits."""
        # A CPU's kernels go by the chip, which planning does not need to know.
        chip = name_chip() if self.device.type == "cpu" else None
        return {
            "device": self.device.type,
            "chip": chip or self.forecaster.device.name,
            "dtype": str(self.dtype).removeprefix("torch."),
            **unfinished.versions_that_count(self.backend, self.stage),
            **self._engine_code(),
        }

    def begin_steps(self, done: int, total: int, *, by_earlier_start: bool, share: float | None = None) -> None:
        """Tell the parent that the running phase is about to take its steps; see `StepsBegin`."""
        self.events.emit(
            StepsBegin(time_s=now_s(), step=done, total=total, share=share, by_earlier_start=by_earlier_start)
        )

    def report_step(self, step: int, total: int, preview: str | None = None, share: float | None = None) -> None:
        """Tell the parent that `step` of `total` is done, and where a picture of it lies.

        Args:
            step: Steps done.
            total: Of so many.
            preview: A picture's file.
            share: Of the phase's work that is done, where not every step is as much.
        """
        self.events.emit(StepDone(time_s=now_s(), step=step, total=total, preview=preview, share=share))

    def take_less(self) -> bool:
        """Whether the parent asked for less memory since the last call; if so, the device's caches are emptied.

        What a stage does besides is up to it; it then says so with `events`.
        """
        asked = self.stop.take_shrink_request()
        if asked:
            empty_cache(self.device)
        return asked

    def finish(
        self,
        *,
        outputs: tuple[Path, ...],
        plan: Mapping[str, Any],
        warnings: tuple[str, ...] = (),
    ) -> None:
        """Write the receipt: the last thing a stage does.

        Args:
            outputs: Files of this stage, already durable.
            plan: What the engine chose, as JSON.
            warnings: What in the result is worth a look, in words.
        """
        now = datetime.now(UTC)
        write_receipt(
            self.run,
            Receipt(
                stage=self.stage,
                package_version=__version__,
                results_version=PIPELINE[self.stage].results_version,
                versions=self.versions(),
                device=str(self.device),
                dtype=str(self.dtype).removeprefix("torch."),
                settings=stage_settings(self.manifest, self.stage),
                weights=self.weights,
                inputs={self.run.name_of(self.source.path): self.source.sha256} if self.source is not None else {},
                outputs=describe_outputs(self.run, outputs),
                plan=dict(plan),
                warnings=warnings,
                phases=tuple(self.phases.records),
                started_at=self.started_at.isoformat(timespec="seconds"),
                finished_at=now.isoformat(timespec="seconds"),
                seconds=round((now - self.started_at).total_seconds(), 3),
            ),
        )
        # What was saved on the way has no use any more, and would be gigabytes for a long run.
        remove_tree(self.run.checkpoint_folder(self.stage))
        self.events.emit(StageDone(time_s=now_s()))
