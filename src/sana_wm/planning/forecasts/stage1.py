"""Stage 1's phases: text encoder, VAE encoder and our engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sana_wm.manifest.guidance import step_passes
from sana_wm.planning.kernels import kernel_rules
from sana_wm.planning.phase import PhaseForecast, PlannedRun, Planner
from sana_wm.planning.stage1 import Stage1Plan, StepShape, choose_plan, step_shape, step_tflop
from sana_wm.planning.text import ENCODE_FLOP_PER_PIXEL, STAGE1_TEXT_TOKENS, encode_work_bytes, text_work_bytes
from sana_wm.weights.stored import StoredWeights, read_stored_weights


def plan_text_encoder(run: PlannedRun) -> Planner:
    """Gemma-2 over both prompts."""
    sizes, weights = run.network(run.layout.stage1_text_encoder)
    work_bytes = text_work_bytes(sizes, STAGE1_TEXT_TOKENS, run.element_bytes, run.device.kind)
    tflop = 2 * 2 * weights.elements * STAGE1_TEXT_TOKENS / 1e12
    return run.resident("stage1", "text_encoder", weights, work_bytes, tflop)


def plan_vae_encoder(run: PlannedRun) -> Planner:
    """The VAE's encoder over the first frame."""
    video = run.manifest.video
    weights = read_stored_weights(run.layout.vae).part(lambda name: not name.startswith("decoder."))
    work_bytes = encode_work_bytes(video.height, video.width, run.element_bytes)
    tflop = ENCODE_FLOP_PER_PIXEL * video.height * video.width / 1e12
    return run.resident("stage1", "vae_encoder", weights, work_bytes, tflop)


def plan_transformer(run: PlannedRun) -> Planner:
    """All steps of our engine, cut so that they fit the budget; those without guidance are cut by themselves."""
    passes = step_passes(run.manifest.stage1)
    sizes, weights = run.network(run.layout.transformer)
    tflop = step_tflop(sizes, run.grid, sum(passes))

    def plan_steps(prompts: int) -> Planner:
        shape = step_shape(
            sizes,
            run.grid,
            prompts=prompts,
            element_bytes=run.element_bytes,
            attention_element_bytes=run.element_bytes,
            rules=kernel_rules(run.device.kind, run.device.torch_version),
        )

        def say(chosen: Stage1Plan) -> tuple[str, Mapping[str, Any]]:
            how = "both prompts at once" if chosen.guidance_passes < prompts else "one prompt at a time"
            return how, chosen.as_json()

        return cut_to_fit(run, shape, weights, tflop, say)

    planners = [plan_steps(prompts) for prompts in dict.fromkeys(passes)]

    def plan(budget: int) -> PhaseForecast:
        first, *others = (planner(budget) for planner in planners)
        if not others:
            return first
        (alone,) = others
        return replace(
            first,
            mode=f"{passes.count(2)} of {len(passes)} steps with guidance: {first.mode}; then {alone.mode}",
            work_bytes=max(first.work_bytes, alone.work_bytes),
            plan={**alone.plan, "plan_with_guidance": first.plan},
        )

    return plan


def cut_to_fit(
    run: PlannedRun,
    shape: StepShape,
    weights: StoredWeights,
    tflop: float,
    say: Callable[[Stage1Plan], tuple[str, Mapping[str, Any]]],
) -> Planner:
    """Plan a transformer whose passes are cut to what the budget leaves beside its weights.

    Args:
        run: What is planned.
        shape: Of a pass.
        weights: Of the transformer.
        tflop: Of all passes.
        say: Says of a chosen cut how the passes go, for people, and what the receipt holds.
    """
    weights_bytes = weights.elements * run.element_bytes

    def plan(budget: int) -> PhaseForecast:
        chosen = choose_plan(shape, budget - weights_bytes)
        passes, noted = say(chosen)
        return PhaseForecast(
            stage="stage1",
            phase="transformer",
            mode=f"{passes}, {chosen.attention_frames} of {shape.frames} latent frames at a time",
            weights_bytes=weights_bytes,
            work_bytes=chosen.working_set_bytes,
            host_bytes=0,
            read_bytes=weights.stored_bytes,
            parameters=weights.elements,
            tflop=tflop,
            plan=noted,
        )

    return plan
