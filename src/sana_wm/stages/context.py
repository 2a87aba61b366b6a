"""What every stage works with: the run, its manifest, the device, events, the stop flag."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from sana_wm import __version__
from sana_wm.durable import remove_tree, sha256_of
from sana_wm.errors import HandoffError
from sana_wm.handoff import half_done
from sana_wm.handoff.receipts import (
    RESULTS_VERSION,
    Receipt,
    WeightFile,
    current_versions,
    describe_outputs,
    read_receipt,
    settings_digest,
    stage_settings,
    write_receipt,
)
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.machine import name_chip
from sana_wm.manifest.model import RunManifest
from sana_wm.names import Stage
from sana_wm.patches.checkout import inspect_checkout
from sana_wm.planning.forecast import RunForecaster
from sana_wm.runtime.checkpoints import Checkpoints
from sana_wm.runtime.device import empty_cache
from sana_wm.runtime.events import EventWriter
from sana_wm.runtime.latents import load_latents, save_tensors
from sana_wm.runtime.phases import PhaseLog
from sana_wm.runtime.stopping import StopFlag
from sana_wm.weights.layout import WeightLayout


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

    def save_latents(self, latents: torch.Tensor) -> None:
        """Leave this stage's latents for the next, durably."""
        save_tensors(self.run.latents_file(self.stage), {"latents": latents}, {"stage": self.stage})

    def load_latents(self, source: Stage) -> torch.Tensor:
        """The latents that an earlier stage left, (1, 128, F, h, w) float32 on the CPU.

        Raises:
            HandoffError: They are missing, damaged, of another shape, or not those of the stage's receipt.
        """
        path = self.run.latents_file(source)
        receipt = read_receipt(self.run, source)
        named = receipt and receipt.outputs.get(self.run.name_of(path))
        if named is None or named.sha256 != sha256_of(path):
            raise HandoffError(
                f"{path} is not what the receipt of {source} names",
                got="no such entry" if named is None else "another SHA-256",
                expected="the latents that the stage left",
                next_step=f"Run {source} again: {self.run.resume_command} --from {source}",
            )
        return load_latents(path, {"stage": source}, self.latents_shape)

    def reusable(self, part: str, prefixes: tuple[str, ...] = ("",), source: Path | None = None) -> dict[str, str]:
        """Metadata of what this stage keeps for its next start: valid for the same work in the same place only.

        Args:
            part: What it is.
            prefixes: The settings that it depends on, by prefix; all when left out.
            source: The file of an earlier stage that it was made from.
        """
        settings = stage_settings(self.manifest, self.stage)
        chosen = {
            name: value for name, value in settings.items() if name.removeprefix("sha256 of ").startswith(prefixes)
        }
        return {
            "stage": self.stage,
            "part": part,
            "settings_sha256": settings_digest(chosen),
            "weights_sha256": _digest([file.model_dump() for file in self.weights]),
            "source_sha256": sha256_of(source) if source is not None else "",
            "computed_by": _digest(self._computed_by()),
        }

    def begin(self, source: Path | None = None) -> None:
        """Begin the stage, or go on with what is half done.

        Args:
            source: The file of an earlier stage that it reads.

        Raises:
            HandoffError: It is half done with other settings, weights or libraries, or on another chip.
        """
        here = half_done.Beginning(
            stage=self.stage,
            source_sha256=sha256_of(source) if source is not None else "",
            settings=stage_settings(self.manifest, self.stage),
            weights=self.weights,
            computed_by=self._computed_by(),
        )
        half_done.begin(self.run, self.manifest, here)

    def checkpoints(self, source: Path | None = None) -> Checkpoints:
        """This stage's checkpoints, of a work that begins from the file `source`."""
        return Checkpoints(self.run.checkpoint_folder(self.stage), self.reusable("checkpoint", source=source))

    def versions(self) -> dict[str, str]:
        """Versions of what computes."""
        return {**current_versions(), **self._upstream()}

    def _upstream(self) -> dict[str, str]:
        """With backend pr379 the commit of NVIDIA's code, and whether it was changed."""
        if (root := self.manifest.model.pr_root) is None or self.manifest.model.backend != "pr379":
            return {}
        checkout = inspect_checkout(Path(root))
        return {"nvlabs_sana": checkout.commit + ("+changes" if checkout.changed else "")}

    def _computed_by(self) -> dict[str, str]:
        """What has to stay the same for the same bits."""
        # A CPU's kernels go by the chip, which planning does not need to know.
        chip = name_chip() if self.device.type == "cpu" else None
        return {
            "device": self.device.type,
            "chip": chip or self.forecaster.device.name,
            "dtype": str(self.dtype).removeprefix("torch."),
            **half_done.versions_that_count(self.stage),
            **self._upstream(),
        }

    def report_step(self, step: int, total: int, **fields: Any) -> None:
        """Tell the parent that `step` of `total` is done."""
        self.events.emit("step", step=step, total=total, **fields)

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
        inputs: Mapping[str, str],
        outputs: tuple[Path, ...],
        plan: Mapping[str, Any],
        warnings: tuple[str, ...] = (),
    ) -> None:
        """Write the receipt: the last thing a stage does.

        Args:
            inputs: SHA-256 of what earlier stages left, by path within the run directory.
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
                results_version=RESULTS_VERSION[self.stage],
                versions=self.versions(),
                device=str(self.device),
                dtype=str(self.dtype).removeprefix("torch."),
                settings=stage_settings(self.manifest, self.stage),
                weights=self.weights,
                inputs=dict(inputs),
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
        self.events.emit("done")


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
