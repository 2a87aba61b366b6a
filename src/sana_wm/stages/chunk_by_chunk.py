"""Stage 1 of the student: one chunk after another, each final when the next begins.

A checkpoint after every chunk holds the latents alone. What later chunks see of it is made again from them in a next
start: one pass a chunk instead of five, and the same bits (docs/runs.md has the figures).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sana_wm.backends import load_part
from sana_wm.models.engine import ChunkedStage1
from sana_wm.models.streaming.noise import draw_chunk
from sana_wm.runs.events import PlanShrunk, now_s
from sana_wm.runtime.checkpoints import Checkpoints
from sana_wm.runtime.phases import Phase
from sana_wm.stages.context import StageContext
from sana_wm.stages.sampling import Previews, Sampled, check_progress, engine_inputs


def sample(context: StageContext, phase: Phase, conditioning: Mapping[str, torch.Tensor]) -> Sampled:
    """As `sana_wm.stages.sampling.Sampling`."""
    settings = context.manifest.stage1
    engine: ChunkedStage1 = load_part(context.backend.open_stage1)(context.engine_setup(phase))
    embeds, mask = (conditioning[name][1:] for name in ("prompt_embeds", "prompt_attention_mask"))
    plan = engine.prepare(engine_inputs(embeds, mask, conditioning))
    total = len(engine.ranges)
    checkpoints = context.checkpoints()
    latents = torch.zeros(context.latents_shape)
    done = _go_on(checkpoints, engine, latents)
    shrunk_after: list[int] = []
    previews = Previews(context, conditioning["first_latent"])
    for chunk in range(done, total):
        frames = engine.ranges[chunk]
        noise = draw_chunk(settings.chunk_noise, settings.seed, context.latents_shape, chunk, frames)
        if chunk == 0:
            noise[:, :, :1] = conditioning["first_latent"]
        made = torch.from_numpy(engine.denoise(noise.numpy()))
        latents[:, :, frames.start : frames.stop] = made
        # With the frame before it: a frame that repeats it is as broken as one that repeats itself.
        check_progress(context, latents[:, :, max(0, frames.start - 1) : frames.stop], f"chunk {chunk + 1} of {total}")
        checkpoints.save(chunk + 1, {"latents": latents[:, :, : frames.stop]})
        context.report_step(chunk + 1, total, preview=previews.save(chunk + 1, made))
        if context.stop.reason is not None:
            checkpoints.wait()
            context.stop.check()
        if context.take_less() and chunk + 1 < total and (leaner := engine.shrink()) is not None:
            plan = leaner
            shrunk_after.append(chunk + 1)
            context.events.emit(PlanShrunk(time_s=now_s(), step=chunk + 1, plan=dict(plan)))
        if chunk + 1 < total:
            engine.remember(made.numpy())
    checkpoints.wait()
    return Sampled(latents, {"weights_bytes": engine.weights_bytes, **plan, "shrunk_after_chunks": shrunk_after})


def _go_on(checkpoints: Checkpoints, engine: ChunkedStage1, latents: torch.Tensor) -> int:
    """Take finished chunks from the newest checkpoint and remember them; returns how many there are."""
    newest = checkpoints.load_newest()
    if newest is None:
        return 0
    done, finished = newest[0], newest[1]["latents"]
    latents[:, :, : finished.shape[2]] = finished
    for frames in engine.ranges[: done if done < len(engine.ranges) else 0]:
        engine.remember(latents[:, :, frames.start : frames.stop].contiguous().numpy())
    return done
