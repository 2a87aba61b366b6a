"""The refiner's phases: text encoder, connectors and our engine."""

from __future__ import annotations

from collections.abc import Mapping

from sana_wm.errors import MemoryCapError
from sana_wm.planning.phase import PhaseForecast, PlannedRun, Planner
from sana_wm.planning.refiner import Refinement, RefinerSizes, measure_refiner, plan_refiner, refinement_tflop
from sana_wm.planning.text import connectors_work_bytes, packing_bytes, streamed_text_bytes, text_work_bytes
from sana_wm.sizes import REFINER_PROMPT_TOKENS
from sana_wm.weights.stored import StoredWeights


def plan_text_encoder(run: PlannedRun) -> Planner:
    """The refiner's text encoder: resident where it fits, otherwise one layer at a time."""
    sizes, weights = run.network(run.layout.refiner_text_encoder)
    work_bytes = text_work_bytes(sizes, REFINER_PROMPT_TOKENS, run.element_bytes, run.device.kind)
    tflop = 2 * weights.elements * REFINER_PROMPT_TOKENS / 1e12
    packed_width = sizes["hidden_size"] * (sizes["num_hidden_layers"] + 1)
    packing = packing_bytes(packed_width, REFINER_PROMPT_TOKENS, run.element_bytes)
    resident = run.resident("refiner", "text_encoder", weights, work_bytes, tflop, afterwards_bytes=packing)
    layer = weights.part(lambda name: name.startswith("layers.0."))
    unpacked_bytes = weights.unpacked_elements * run.element_bytes

    def plan(budget: int) -> PhaseForecast:
        try:
            return resident(budget)
        except MemoryCapError:
            pass
        weights_bytes, buffers_bytes = streamed_text_bytes(layer.held_bytes(run.element_bytes), layer.stored_bytes)
        forecast = PhaseForecast(
            stage="refiner",
            phase="text_encoder",
            mode=f"streamed, one of {sizes['num_hidden_layers']} layers at a time",
            weights_bytes=weights_bytes,
            work_bytes=work_bytes + unpacked_bytes,
            # By the time it packs, the activations are gone.
            host_bytes=buffers_bytes + max(0, packing - work_bytes),
            read_bytes=weights.stored_bytes,
            parameters=weights.elements,
            tflop=tflop,
            plan={"mode": "streamed"},
        )
        return run.fitting(forecast, budget)

    return plan


def plan_connectors(run: PlannedRun) -> Planner:
    """The connectors over the levels that the text encoder packed."""
    sizes, weights = run.network(run.layout.connectors)
    work_bytes = connectors_work_bytes(sizes["packed_width"], REFINER_PROMPT_TOKENS, run.element_bytes)
    tflop = 2 * weights.elements * REFINER_PROMPT_TOKENS / 1e12
    packed_bytes = sizes["packed_width"] * REFINER_PROMPT_TOKENS * run.element_bytes
    return run.resident("refiner", "connectors", weights, work_bytes, tflop, host_bytes=packed_bytes)


def ask_refinement(run: PlannedRun) -> Refinement:
    """What is asked of the refiner."""
    settings = run.manifest.refiner
    return Refinement(
        latent_shape=run.latent_shape,
        mode=settings.mode,
        sink_size=settings.sink_size,
        block_size=settings.block_size,
        kv_max_frames=settings.kv_max_frames,
    )


def measure_transformer(
    run: PlannedRun, sizes: Mapping[str, int], weights: StoredWeights
) -> tuple[RefinerSizes, float]:
    """What the transformer takes for this run, and its arithmetic in TFLOP.

    Args:
        run: The run.
        sizes: Of the transformer's config.
        weights: Its headers.
    """
    asked = ask_refinement(run)
    measured = measure_refiner(weights.tensors, sizes, asked, run.element_bytes)
    return measured, refinement_tflop(sizes, asked, measured.blocks * measured.block_parameters)


def plan_transformer(run: PlannedRun) -> Planner:
    """The refiner's transformer: resident where it fits, otherwise with as many blocks staying as fit."""
    sizes, weights = run.network(run.layout.refiner_transformer)
    measured, tflop = measure_transformer(run, sizes, weights)
    passes = ask_refinement(run).passes

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
            read_bytes=weights.stored_bytes + (passes - 1) * streamed * measured.stored_block_bytes,
            parameters=weights.elements,
            tflop=tflop,
            plan=chosen.as_json(),
        )

    return plan
