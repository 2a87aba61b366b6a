"""What each phase of a run will take, before anything is loaded: the engines' own rules on headers and configs.

Stages choose by the same functions, so that what was promised is what runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sana_wm.errors import MemoryCapError
from sana_wm.manifest.model import Manifest
from sana_wm.names import STAGES, Stage
from sana_wm.planning.decode import complete_config, decode_tflop, plan_decode_on
from sana_wm.planning.device import Device, budget_bytes, element_bytes, reserved_bytes
from sana_wm.planning.kernels import kernel_rules
from sana_wm.planning.pr379 import upstream_refiner_work_bytes, upstream_stage1_work_bytes
from sana_wm.planning.refiner import Refinement, measure_refiner, plan_refiner, refinement_tflop
from sana_wm.planning.stage1 import choose_plan, step_shape, step_tflop
from sana_wm.planning.text import (
    ENCODE_FLOP_PER_PIXEL,
    STAGE1_TEXT_TOKENS,
    connectors_work_bytes,
    encode_work_bytes,
    packing_bytes,
    streamed_text_bytes,
    text_work_bytes,
)
from sana_wm.sizes import GIB, LATENT_CHANNELS, REFINER_PROMPT_TOKENS
from sana_wm.weights.component_config import read_config
from sana_wm.weights.headers import DTYPE_BYTES
from sana_wm.weights.layout import Component, WeightLayout
from sana_wm.weights.stored import StoredWeights, read_stored_weights
from sana_wm.weights.tables import network_sizes

#: What cuBLAS and cuDNN keep for themselves beside the tensors.
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
class RunForecaster:
    """Forecasts the phases of a manifest on a device.

    Args:
        manifest: What shall run.
        layout: Where its weights lie; headers and configs are read, weights are not.
        device: Where it shall run.
        stages: Whose phases are planned. Files of the others are not read and need not be there.
    """

    manifest: Manifest
    layout: WeightLayout
    device: Device
    stages: tuple[Stage, ...] = STAGES

    def planners(self) -> dict[tuple[Stage, str], Planner]:
        """How each phase is planned, by stage and phase, in the order in which they run.

        Raises:
            WeightsError: A header or config cannot be read.
        """
        makers: dict[tuple[Stage, str], Callable[[], Planner]] = {
            ("stage1", "text_encoder"): self._stage1_text,
            ("stage1", "vae_encoder"): self._first_frame,
            ("stage1", "transformer"): self._stage1_transformer,
            ("refiner", "text_encoder"): self.refiner_text,
            ("refiner", "connectors"): self._connectors,
            ("refiner", "transformer"): self.refiner_transformer,
            ("vae_decode", "vae_decoder"): self._decoder,
        }
        off = () if self.manifest.refiner.enabled else ("refiner",)
        return {key: make() for key, make in makers.items() if key[0] in self.stages and key[0] not in off}

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

    def with_num_frames(self, num_frames: int) -> RunForecaster:
        """The same run with another length."""
        video = self.manifest.video.model_copy(update={"num_frames": num_frames})
        return replace(self, manifest=self.manifest.model_copy(update={"video": video}))

    def with_budget_gib(self, budget_gib: float) -> RunForecaster:
        """The same run with another budget under the same cap."""
        memory = self.manifest.memory.model_copy(update={"budget_gib": budget_gib})
        return replace(self, manifest=self.manifest.model_copy(update={"memory": memory}))

    def with_cap_gib(self, cap_gib: float) -> RunForecaster:
        """The same run under another cap, with all of it as budget."""
        memory = self.manifest.memory.model_copy(update={"cap_gib": float(cap_gib), "budget_gib": None})
        return replace(self, manifest=self.manifest.model_copy(update={"memory": memory}))

    @property
    def cap_bytes(self) -> int:
        """The manifest's cap."""
        return self.manifest.memory.cap_bytes

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

    def _stage1_text(self) -> Planner:
        sizes, weights = self._network(self.layout.stage1_text_encoder)
        work_bytes = text_work_bytes(sizes, STAGE1_TEXT_TOKENS, self.element_bytes, self.device.kind)
        tflop = 2 * 2 * weights.elements * STAGE1_TEXT_TOKENS / 1e12
        return self._resident("stage1", "text_encoder", weights, work_bytes, tflop)

    def _first_frame(self) -> Planner:
        video = self.manifest.video
        weights = read_stored_weights(self.layout.vae).part(lambda name: not name.startswith("decoder."))
        work_bytes = encode_work_bytes(video.height, video.width, self.element_bytes)
        tflop = ENCODE_FLOP_PER_PIXEL * video.height * video.width / 1e12
        return self._resident("stage1", "vae_encoder", weights, work_bytes, tflop)

    def _stage1_transformer(self) -> Planner:
        settings = self.manifest.stage1
        sizes, weights = self._network(self.layout.transformer)
        prompts = 2 if settings.guidance_scale > 1 else 1
        shape = step_shape(
            sizes,
            self.grid,
            prompts=prompts,
            element_bytes=self.element_bytes,
            attention_element_bytes=self.element_bytes,
            rules=kernel_rules(self.device.kind, self.device.torch_version),
        )
        weights_bytes = weights.elements * self.element_bytes
        tflop = settings.num_inference_steps * step_tflop(sizes, self.grid, prompts)
        if self.manifest.model.backend == "pr379":
            work_bytes = upstream_stage1_work_bytes(math.prod(self.grid), sizes["hidden_size"], self.element_bytes)
            return self._resident("stage1", "transformer", weights, work_bytes, tflop)

        def plan(budget: int) -> PhaseForecast:
            chosen = choose_plan(shape, budget - weights_bytes)
            passes = "both prompts at once" if chosen.guidance_passes < prompts else "one prompt at a time"
            frames = f"{chosen.attention_frames} of {shape.frames} latent frames at a time"
            return PhaseForecast(
                stage="stage1",
                phase="transformer",
                mode=f"{passes}, {frames}",
                weights_bytes=weights_bytes,
                work_bytes=chosen.working_set_bytes,
                host_bytes=0,
                read_bytes=weights.stored_bytes,
                parameters=weights.elements,
                tflop=tflop,
                plan=chosen.as_json(),
            )

        return plan

    def refiner_text(self) -> Planner:
        """The refiner's text encoder: resident where it fits, otherwise one layer at a time."""
        sizes, weights = self._network(self.layout.refiner_text_encoder)
        work_bytes = text_work_bytes(sizes, REFINER_PROMPT_TOKENS, self.element_bytes, self.device.kind)
        tflop = 2 * weights.elements * REFINER_PROMPT_TOKENS / 1e12
        packed_width = sizes["hidden_size"] * (sizes["num_hidden_layers"] + 1)
        packing = packing_bytes(packed_width, REFINER_PROMPT_TOKENS, self.element_bytes)
        resident = self._resident("refiner", "text_encoder", weights, work_bytes, tflop, afterwards_bytes=packing)
        layer = weights.part(lambda name: name.startswith("layers.0."))

        def plan(budget: int) -> PhaseForecast:
            try:
                return resident(budget)
            except MemoryCapError:
                pass
            weights_bytes, buffers_bytes = streamed_text_bytes(layer.elements * self.element_bytes, layer.stored_bytes)
            forecast = PhaseForecast(
                stage="refiner",
                phase="text_encoder",
                mode=f"streamed, one of {sizes['num_hidden_layers']} layers at a time",
                weights_bytes=weights_bytes,
                work_bytes=work_bytes,
                # By the time it packs, the activations are gone.
                host_bytes=buffers_bytes + max(0, packing - work_bytes),
                read_bytes=weights.stored_bytes,
                parameters=weights.elements,
                tflop=tflop,
                plan={"mode": "streamed"},
            )
            return self._fitting(forecast, budget)

        return plan

    def _connectors(self) -> Planner:
        sizes, weights = self._network(self.layout.connectors)
        work_bytes = connectors_work_bytes(sizes["packed_width"], REFINER_PROMPT_TOKENS, self.element_bytes)
        tflop = 2 * weights.elements * REFINER_PROMPT_TOKENS / 1e12
        packed_bytes = sizes["packed_width"] * REFINER_PROMPT_TOKENS * self.element_bytes
        return self._resident("refiner", "connectors", weights, work_bytes, tflop, host_bytes=packed_bytes)

    def refinement(self) -> Refinement:
        """What is asked of the refiner."""
        settings = self.manifest.refiner
        return Refinement(
            latent_shape=self.latent_shape,
            mode=settings.mode,
            sink_size=settings.sink_size,
            block_size=settings.block_size,
            kv_max_frames=settings.kv_max_frames,
        )

    def refiner_transformer(self) -> Planner:
        """The refiner's transformer: resident where it fits, otherwise with as many blocks staying as fit."""
        sizes, weights = self._network(self.layout.refiner_transformer)
        asked = self.refinement()
        first = next(iter(weights.tensors.values()))
        measured = measure_refiner(
            {name: entry.shape for name, entry in weights.tensors.items()},
            sizes,
            asked,
            self.element_bytes,
            DTYPE_BYTES[first.dtype],
        )
        block_parameters = measured.blocks * measured.block_bytes // self.element_bytes
        tflop = refinement_tflop(sizes, asked, block_parameters)
        if self.manifest.model.backend == "pr379":
            width = sizes["num_attention_heads"] * sizes["attention_head_dim"]
            work_bytes = upstream_refiner_work_bytes(math.prod(self.grid), width, self.element_bytes)
            resident = self._resident("refiner", "transformer", weights, work_bytes, tflop)

            def plan_upstream(budget: int) -> PhaseForecast:
                return replace(resident(budget), plan={"mode": "resident", "resident_blocks": measured.blocks})

            return plan_upstream

        def plan(budget: int) -> PhaseForecast:
            chosen = plan_refiner(measured, budget)
            streamed = measured.blocks - chosen.resident_blocks
            slots = 1 if streamed else 0
            weights_bytes = measured.fixed_bytes + (chosen.resident_blocks + slots) * measured.block_bytes
            host_bytes = measured.host_bytes if streamed else 0
            return PhaseForecast(
                stage="refiner",
                phase="transformer",
                mode=f"{chosen.mode}, {chosen.resident_blocks} of {measured.blocks} blocks stay",
                weights_bytes=weights_bytes,
                work_bytes=chosen.predicted_bytes - host_bytes - weights_bytes,
                host_bytes=host_bytes,
                read_bytes=weights.stored_bytes + (asked.passes - 1) * streamed * measured.stored_block_bytes,
                parameters=weights.elements,
                tflop=tflop,
                plan=chosen.as_json(),
            )

        return plan

    def _decoder(self) -> Planner:
        config = complete_config(read_config(self.layout.vae))
        weights = read_stored_weights(self.layout.vae).part(lambda name: name.startswith("decoder."))
        tflop = decode_tflop(config, self.latent_shape)

        def plan(budget: int) -> PhaseForecast:
            chosen = plan_decode_on(self.device.kind, config, self.latent_shape, self.element_bytes, budget)
            return PhaseForecast(
                stage="vae_decode",
                phase="vae_decoder",
                mode=f"streaming, at most {chosen.steps[-1]} frames at a time",
                weights_bytes=chosen.weights_bytes,
                work_bytes=chosen.predicted_bytes - chosen.weights_bytes,
                host_bytes=0,
                read_bytes=weights.stored_bytes,
                parameters=weights.elements,
                tflop=tflop,
                plan=chosen.as_json(),
            )

        return plan

    def _network(self, component: Component) -> tuple[dict[str, int], StoredWeights]:
        return network_sizes(component.name, read_config(component)), read_stored_weights(component)

    def _resident(
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
        device_work_bytes = max(work_bytes, loading_bytes)
        forecast = PhaseForecast(
            stage=stage,
            phase=phase,
            mode="resident",
            weights_bytes=weights.elements * self.element_bytes,
            work_bytes=device_work_bytes,
            host_bytes=host_bytes + max(0, afterwards_bytes - device_work_bytes),
            read_bytes=weights.stored_bytes,
            parameters=weights.elements,
            tflop=tflop,
            plan={"mode": "resident"},
        )
        return lambda budget: self._fitting(forecast, budget)

    def _fitting(self, forecast: PhaseForecast, budget: int) -> PhaseForecast:
        needed = self.budgeted_bytes(forecast)
        if needed > budget:
            raise MemoryCapError(
                f"phase {forecast.phase} of stage {forecast.stage} does not fit",
                got=f"a budget of {budget / GIB:.2f} GiB",
                expected=f"at least {needed / GIB:.2f} GiB",
                next_step="Raise memory.cap_gib.",
            )
        return forecast
