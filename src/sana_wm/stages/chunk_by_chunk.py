"""Stage 1 of the student: one chunk after another, each final when the next begins.

A checkpoint after every chunk holds the latents alone. What later chunks see of it is made again from them in a next
start: one pass a chunk instead of five, and the same bits (docs/runs.md has the figures).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sana_wm.backends import load_part
from sana_wm.errors import HandoffError
from sana_wm.models.engine import ChunkedStage1
from sana_wm.models.streaming.noise import draw_chunk
from sana_wm.runs.events import PlanShrunk, now_s
from sana_wm.runtime.phases import Phase
from sana_wm.stages.context import StageContext
from sana_wm.stages.earlier_run import load_state, prompts_of_chunks, save_state
from sana_wm.stages.sampling import Previews, Sampled, check_progress, engine_inputs


def sample(context: StageContext, phase: Phase, conditioning: Mapping[str, torch.Tensor]) -> Sampled:
    """As `sana_wm.stages.sampling.Sampling`."""
    settings = context.manifest.stage1
    engine: ChunkedStage1 = load_part(context.backend.open_stage1)(context.engine_setup(phase))
    ranges = engine.chunk_ranges(context.manifest.latent_num_frames)
    plan = engine.prepare(engine_inputs(*prompts_of_chunks(conditioning, ranges), conditioning))
    total = len(ranges)
    checkpoints = context.checkpoints()
    latents = torch.zeros(context.latents_shape)
    newest = checkpoints.load_newest()
    done = _go_on(context, engine, newest, conditioning.get("earlier_latents"), latents)
    shrunk_after: list[int] = []
    previews = Previews(context, conditioning["first_latent"])
    context.begin_steps(done, total, by_earlier_start=newest is not None)
    for chunk in range(done, total):
        frames = ranges[chunk]
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
        if chunk + 1 < total or settings.keep_state:
            engine.remember(made.numpy())
    checkpoints.wait()
    kept = (save_state(context, latents, engine.memory()),) if settings.keep_state else ()
    plan = {"weights_bytes": engine.weights_bytes, **plan, "shrunk_after_chunks": shrunk_after}
    return Sampled(latents, plan, kept)


def _go_on(
    context: StageContext,
    engine: ChunkedStage1,
    newest: tuple[int, dict[str, torch.Tensor]] | None,
    earlier: torch.Tensor | None,
    latents: torch.Tensor,
) -> int:
    """Take what is finished, of this run or of the one that it goes on from, and remember it; returns the chunks.

    Args:
        context: Of the stage.
        engine: That remembers.
        newest: The newest checkpoint of this run.
        earlier: (1, C, t, h, w) of the run that it goes on from.
        latents: (1, C, F, h, w) of the whole video; receives what is finished.
    """
    finished = newest[1]["latents"] if newest is not None else earlier
    if finished is None:
        return 0
    ranges = engine.chunk_ranges(latents.shape[2])
    ends = [frames.stop for frames in ranges]
    if finished.shape[2] not in ends:
        raise HandoffError(
            "what is finished ends within a chunk",
            got=f"{finished.shape[2]} latent frames",
            expected=" or ".join(map(str, ends[:3])),
            next_step="Start Stage 1 over, or go on from a run of the same chunks.",
        )
    done = ends.index(finished.shape[2]) + 1
    latents[:, :, : finished.shape[2]] = finished
    if done == len(ranges) and not context.manifest.stage1.keep_state:
        return done
    known = 0
    if earlier is not None and (state := load_state(context, earlier)) is not None:
        known = ends.index(earlier.shape[2]) + 1
        engine.restore(state, known)
    for frames in ranges[known:done]:
        engine.remember(latents[:, :, frames.start : frames.stop].contiguous().numpy())
    return done
