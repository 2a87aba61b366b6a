"""Stage 1 of the bidirectional model: every step over the whole clip."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from sana_wm.backends import load_part
from sana_wm.manifest.guidance import guided_steps, step_passes
from sana_wm.models.engine import Stage1, Stage1Inputs
from sana_wm.models.stage1.sampler import build_schedule, euler_step
from sana_wm.runs.events import PlanShrunk, now_s
from sana_wm.runtime.phases import Phase
from sana_wm.stages.context import StageContext
from sana_wm.stages.sampling import Previews, Sampled, check_progress, engine_inputs


def sample(context: StageContext, phase: Phase, conditioning: Mapping[str, torch.Tensor]) -> Sampled:
    """As `sana_wm.stages.sampling.Sampling`."""
    settings = context.manifest.stage1
    engine: Stage1 = load_part(context.backend.open_stage1)(context.engine_setup(phase))
    schedule = build_schedule(settings.num_inference_steps, settings.flow_shift)
    total, guided, passes = schedule.num_inference_steps, guided_steps(settings), step_passes(settings)
    checkpoints = context.checkpoints()
    done, latents = _start(context, checkpoints.load_newest(), conditioning["first_latent"])
    inputs = _inputs(conditioning, guided=min(done, total - 1) < guided)
    plan = engine.prepare(inputs)
    notes: dict[str, Any] = {"guided_steps": guided, "passes": sum(passes)}
    shrunk_after: list[int] = []
    previews = Previews(context, conditioning["first_latent"])
    context.begin_steps(done, total, by_earlier_start=done > 0, share=sum(passes[:done]) / sum(passes))
    for step in range(done, total):
        verify = partial(check_progress, context, latents, f"step {step} of {total}")
        with checkpoints.kept_when_out_of_memory(step, {"latents": latents}, verify):
            if step == guided > done:
                # Anew, with the prompt alone: a later start that begins behind this step has no other.
                notes["plan_with_guidance"], inputs = dict(plan), _inputs(conditioning, guided=False)
                plan = engine.prepare(inputs)
            scale = settings.guidance_scale if step < guided else 1.0
            velocity = torch.from_numpy(engine.velocity(latents.numpy(), schedule.timesteps[step], scale))
        shown = None
        if previews.is_due(step + 1):
            clean = latents.clone()
            clean[:, :, 1:] -= schedule.sigmas[step] * velocity[:, :, 1:]
            shown = previews.save(step + 1, clean)
        latents = euler_step(latents, velocity, schedule, step)
        context.report_step(step + 1, total, preview=shown, share=sum(passes[: step + 1]) / sum(passes))
        stopping, shrinking = context.stop.reason is not None, context.take_less()
        is_last = step + 1 == total
        if stopping or shrinking or is_last or (step + 1) % settings.checkpoint_every == 0:
            check_progress(context, latents, f"step {step + 1} of {total}")
            checkpoints.save(step + 1, {"latents": latents})
        if stopping:
            checkpoints.wait()
            context.stop.check()
        if shrinking and not is_last and engine.shrink():
            plan = engine.prepare(inputs)
            shrunk_after.append(step + 1)
            context.events.emit(PlanShrunk(time_s=now_s(), step=step + 1, plan=dict(plan)))
    checkpoints.wait()
    notes["shrunk_after_steps"] = shrunk_after
    return Sampled(latents, {"weights_bytes": engine.weights_bytes, **plan, **notes})


def _inputs(conditioning: Mapping[str, torch.Tensor], *, guided: bool) -> Stage1Inputs:
    """What the engine is prepared with: both prompts, or the prompt alone."""
    prompts = slice(None) if guided else slice(1, None)  # the negative prompt stands first
    embeds, mask = (conditioning[name][prompts] for name in ("prompt_embeds", "prompt_attention_mask"))
    return engine_inputs(embeds, mask, conditioning)


def _start(
    context: StageContext, checkpoint: tuple[int, dict[str, torch.Tensor]] | None, first_latent: torch.Tensor
) -> tuple[int, torch.Tensor]:
    """Steps done and latents (1, 128, F, h, w) float32: from a checkpoint, or noise behind the picture.

    They stay on the CPU, where they are a megabyte a frame and a step is seconds of work; the noise is
    drawn there, in float32, in one draw: a seed means the same video on every device.
    """
    if checkpoint is not None:
        done, tensors = checkpoint
        return done, tensors["latents"]
    generator = torch.Generator("cpu").manual_seed(context.manifest.stage1.seed)
    latents = torch.randn(context.latents_shape, generator=generator, dtype=torch.float32)
    latents[:, :, :1] = first_latent
    return 0, latents
