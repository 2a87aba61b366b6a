"""A phase as it is planned, and what its planning goes by: the manifest, the weights' headers, the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from sana_wm.errors import MemoryCapError
from sana_wm.manifest.model import Manifest
from sana_wm.names import Stage
from sana_wm.planning.cap import known_cap_gib
from sana_wm.planning.device import Device, budget_bytes, element_bytes, reserved_bytes
from sana_wm.sizes import GIB, LATENT_CHANNELS
from sana_wm.weights.component_config import read_config
from sana_wm.weights.int8 import as_int8
from sana_wm.weights.layout import Component, WeightLayout
from sana_wm.weights.stored import StoredWeights, read_stored_weights
from sana_wm.weights.tables import network_sizes

#: What cuBLAS and cuDNN keep for themselves beside the tensors: a workspace of up to 64 MiB (docs/memory.md).
LIBRARY_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class PhaseForecast:
    """One phase.

    Attributes:
        stage: The stage that it is a part of.
        phase: Its name, as in events and receipts.
        mode: How the engine will work, in words.
        weights_bytes: Weights on the device at the peak.
        work_bytes: Everything else on the device at the peak.
        host_bytes: Buffers in main memory besides.
        read_bytes: What is read from weight files, all passes together.
        parameters: Of the network: which it is, where times are compared.
        tflop: Arithmetic.
        plan: The engine's decision as it goes into the receipt.
    """

    stage: Stage
    phase: str
    mode: str
    weights_bytes: int
    work_bytes: int
    host_bytes: int
    read_bytes: int
    parameters: int
    tflop: float
    plan: Mapping[str, Any]

    @property
    def device_bytes(self) -> int:
        """Peak on the device."""
        return self.weights_bytes + self.work_bytes


Planner = Callable[[int], PhaseForecast]
"""From a budget in bytes to a phase; raises `MemoryCapError` when the phase does not fit it."""


@dataclass(frozen=True)
class PlannedRun:
    """What the phases of a run are planned by.

    Args:
        manifest: What shall run.
        layout: Where its weights lie; headers and configs are read, weights are not.
        device: Where it shall run.
    """

    manifest: Manifest
    layout: WeightLayout
    device: Device

    @property
    def element_bytes(self) -> int:
        """Bytes of an element of what is computed with."""
        return element_bytes(self.manifest.dtype, self.device.kind)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Latent frames, height, width."""
        return (self.manifest.latent_num_frames, self.manifest.latent_height, self.manifest.latent_width)

    @property
    def latent_shape(self) -> tuple[int, int, int, int, int]:
        """(B, C, F, h, w) of the latents."""
        return (1, LATENT_CHANNELS, *self.grid)

    def with_num_frames(self, num_frames: int) -> Self:
        """The same run with another length."""
        video = self.manifest.video.model_copy(update={"num_frames": num_frames})
        return replace(self, manifest=self.manifest.model_copy(update={"video": video}))

    def with_budget_gib(self, budget_gib: float) -> Self:
        """The same run with another budget under the same cap."""
        memory = self.manifest.memory.model_copy(update={"budget_gib": budget_gib})
        return replace(self, manifest=self.manifest.model_copy(update={"memory": memory}))

    def with_cap_gib(self, cap_gib: float) -> Self:
        """The same run under another cap, with all of it as budget."""
        memory = self.manifest.memory.model_copy(update={"cap_gib": float(cap_gib), "budget_gib": None})
        return replace(self, manifest=self.manifest.model_copy(update={"memory": memory}))

    @property
    def cap_bytes(self) -> int:
        """The manifest's cap, or what `auto` is on this device."""
        return int(known_cap_gib(self.manifest.memory, self.device) * GIB)

    @property
    def budget_bytes(self) -> int:
        """What an engine plans with: the manifest's budget, otherwise what its cap and the device allow."""
        asked_gib = self.manifest.memory.budget_gib
        if asked_gib is not None:
            return int(asked_gib * GIB)
        return budget_bytes(self.device.kind, self.device.memory_bytes, self.cap_bytes)

    def used_bytes(self, phase: PhaseForecast) -> int:
        """What the governor will hold against the cap: on a Mac the process with its device memory in it."""
        if not self.device.is_unified:
            return phase.device_bytes + LIBRARY_BYTES
        return phase.device_bytes + phase.host_bytes + reserved_bytes(self.device.kind)

    def budgeted_bytes(self, phase: PhaseForecast) -> int:
        """What a phase takes of the budget: where memory is shared, its buffers in main memory too."""
        return phase.device_bytes + (phase.host_bytes if self.device.is_unified else 0)

    def network(self, component: Component) -> tuple[dict[str, int], StoredWeights]:
        """The sizes that a network's config gives, and the headers of the files that are loaded."""
        weights = read_stored_weights(component)
        if self.manifest.model.weights == "int8":
            weights = as_int8(component.name, weights)
        return network_sizes(component.name, read_config(component)), weights

    def resident(
        self,
        stage: Stage,
        phase: str,
        weights: StoredWeights,
        work_bytes: int,
        tflop: float,
        host_bytes: int = 0,
        afterwards_bytes: int = 0,
    ) -> Planner:
        """A network that is loaded whole, and its work.

        Args:
            stage: Of the phase.
            phase: Its name.
            weights: The network's.
            work_bytes: What it takes beside them while it computes.
            tflop: Its arithmetic.
            host_bytes: In main memory all the time.
            afterwards_bytes: In main memory when it has computed, with the network still there.
        """
        # Where device and host share memory, the largest tensor is there twice while it is loaded.
        loading_bytes = weights.largest_elements * self.element_bytes if self.device.is_unified else 0
        device_work_bytes = max(work_bytes + weights.unpacked_elements * self.element_bytes, loading_bytes)
        forecast = PhaseForecast(
            stage=stage,
            phase=phase,
            mode="resident",
            weights_bytes=weights.held_bytes(self.element_bytes),
            work_bytes=device_work_bytes,
            host_bytes=host_bytes + max(0, afterwards_bytes - device_work_bytes),
            read_bytes=weights.stored_bytes,
            parameters=weights.elements,
            tflop=tflop,
            plan={"mode": "resident"},
        )
        return lambda budget: self.fitting(forecast, budget)

    def fitting(self, forecast: PhaseForecast, budget: int) -> PhaseForecast:
        """The forecast of a phase that has one way to work.

        Raises:
            MemoryCapError: It does not fit the budget, in bytes.
        """
        needed = self.budgeted_bytes(forecast)
        if needed > budget:
            raise MemoryCapError(
                f"phase {forecast.phase} of stage {forecast.stage} does not fit",
                got=f"a budget of {budget / GIB:.2f} GiB",
                expected=f"at least {needed / GIB:.2f} GiB",
                next_step="Raise memory.cap_gib.",
            )
        return forecast


PhasePlanning = Callable[[PlannedRun], Planner]
"""From a run to the planner of one of its phases; raises `WeightsError` when a header or config cannot be read."""
