"""The two ways to refine Stage 1 latents: block by block, as the refiner was trained, or all frames at once.

`autoregressive` is the recipe of the released weights: its memory does not grow with the video, and a stop costs one
block. `single_shot` is what PR #379 ran: every frame sees every other, at 36,080 tokens a pass for 321 frames.
Seeds give different pictures in the two modes, because one draws noise a block, the other once.

Source: NVlabs/Sana, PR #379, `diffusers_ltx2_refiner.py`; diffusers `pipelines/sana_wm/refiner.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from sana_wm.models.refiner.block_stream import BlockStream
from sana_wm.models.refiner.kv_window import KVWindow
from sana_wm.models.refiner.rope import RotaryTable
from sana_wm.models.refiner.state import RefinerState
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.planning.refiner import SIGMAS, Refinement

OnState = Callable[[RefinerState], None]


class SingleShotEngine(Protocol):
    """What the single shot asks of a transformer; our `RefinerEngine` has it, and NVIDIA's in `models.pr379`."""

    def set_prompt(self, prompt_embeds: Tensor, prompt_attention_mask: Tensor) -> None:
        """(B, L, C) and (B, L) from the connectors."""
        ...

    def new_window(self, latent_shape: tuple[int, ...], sink: int, history: int, current: int) -> Any:
        """Room for keys and values; frames are latent frames."""
        ...

    def rotary_table(self, frame_positions: range, latent_shape: tuple[int, ...], fps: float) -> Any:
        """The table of some frames."""
        ...

    def capture_sink(self, latents: Tensor, table: Any, window: Any) -> None:
        """Keep what later passes need of the sink's latents, (B, C, s, h, w)."""
        ...

    def predict_velocity(self, latents: Tensor, sigma: float, table: Any, sink: Any, window: Any) -> Tensor:
        """The velocity of all frames after the sink, (B, C, f, h, w) float32."""
        ...


def refine_autoregressive(
    engine: RefinerEngine,
    latents: Tensor,
    prompt_embeds: Tensor,
    prompt_attention_mask: Tensor,
    *,
    fps: float,
    sink_size: int = 1,
    block_size: int = 3,
    kv_max_frames: int = 11,
    sigmas: tuple[float, ...] = SIGMAS,
    generator: torch.Generator,
    on_block: OnState | None = None,
    resume_from: RefinerState | None = None,
) -> Tensor:
    """Refine `block_size` frames at a time, each block seeing the sink and the frames refined before it.

    Args:
        engine: The transformer.
        latents: (B, C, F, h, w) Stage 1 latents.
        prompt_embeds: (B, L, C) from the connectors.
        prompt_attention_mask: (B, L).
        fps: Frames of video per second; the rotary tables count in seconds.
        sink_size: Latent frames at the front that stay as they are and that every block sees.
        block_size: Latent frames refined together; the last block may have fewer.
        kv_max_frames: Sink and history together; at `sink_size` or less the history is not bounded, as in diffusers.
        sigmas: Descending noise levels that end in 0.
        generator: A CPU generator, the source of one noise tensor a block.
        on_block: Called after every block with the state so far; it may raise to stop.
        resume_from: A state of the same run: the result has the same bits as without the stop.

    Returns:
        (B, C, F, h, w) float32 on the CPU, the sink unchanged.

    Raises:
        ValueError: The latents have no frames after the sink.
        HandoffError: `resume_from` is of other latents.
    """
    state = _first_state(latents, sink_size, generator, resume_from)
    done = state.latents
    num_frames = done.shape[2]
    blocks = [slice(start, start + block_size) for start in range(sink_size, num_frames, block_size)]
    asked = Refinement(tuple(done.shape), "autoregressive", sink_size, block_size, kv_max_frames)
    if state.next_block >= len(blocks):
        return done

    engine.set_prompt(prompt_embeds, prompt_attention_mask)
    stream = BlockStream(
        engine,
        done[:, :, :sink_size],
        history_frames=asked.history_frames,
        block_frames=asked.current_frames,
        fps=fps,
        generator=generator,
        sigmas=sigmas,
    )
    _refine_blocks(stream, state, blocks, generator, on_block)
    return done


def _refine_blocks(
    stream: BlockStream,
    state: RefinerState,
    blocks: Sequence[slice],
    generator: torch.Generator,
    on_block: OnState | None,
) -> None:
    """Refine a state's latents in place, block after block; those that are done the stream only looks at again."""
    done = state.latents
    for index, block in enumerate(blocks):
        if index < state.next_block:
            stream.recall(done[:, :, block])
            continue
        is_last = index + 1 == len(blocks)
        done[:, :, block] = stream.refine(done[:, :, block], is_last=is_last)
        if on_block is not None:
            on_block(RefinerState(done, index + 1, generator.get_state()))


def refine_single_shot(
    engine: SingleShotEngine,
    latents: Tensor,
    prompt_embeds: Tensor,
    prompt_attention_mask: Tensor,
    *,
    fps: float,
    sink_size: int = 1,
    sigmas: tuple[float, ...] = SIGMAS,
    generator: torch.Generator,
    on_step: OnState | None = None,
    resume_from: RefinerState | None = None,
) -> Tensor:
    """Refine all frames after the sink together; the sink sees only itself.

    Arguments, result and errors are those of `refine_autoregressive`; `on_step` is called after every noise level.
    """
    state = _first_state(latents, sink_size, generator, resume_from)
    done = state.latents
    num_frames = done.shape[2]
    engine.set_prompt(prompt_embeds, prompt_attention_mask)
    window = engine.new_window(tuple(done.shape), sink_size, 0, num_frames - sink_size)
    # The sink's keys and values depend neither on the step nor on the noise level: made once, they serve every pass.
    sink_table = _table(engine, done, range(sink_size), fps)
    engine.capture_sink(done[:, :, :sink_size], sink_table, window)
    table = _table(engine, done, range(sink_size, num_frames), fps)

    current = done[:, :, sink_size:]
    if state.next_block == 0:
        current = _add_noise(current, sigmas[0], generator)
    for step in range(state.next_block, len(sigmas) - 1):
        current = _euler_step(engine, current, sigmas[step], sigmas[step + 1], (table, sink_table), window)
        if on_step is not None:
            done[:, :, sink_size:] = current
            on_step(RefinerState(done, step + 1, generator.get_state()))
    done[:, :, sink_size:] = current
    return done


def _first_state(
    latents: Tensor, sink_size: int, generator: torch.Generator, resume_from: RefinerState | None
) -> RefinerState:
    """Where to begin; sets the generator back when that is not the beginning."""
    if latents.shape[2] <= sink_size:
        raise ValueError(f"latents of {latents.shape[2]} frames have none to refine after a sink of {sink_size}")
    if resume_from is None:
        return RefinerState(latents.to("cpu", torch.float32, copy=True), 0, generator.get_state())
    state = resume_from.matching(latents)
    generator.set_state(state.generator_state)
    return replace(state, latents=state.latents.clone())


def _add_noise(clean: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn(clean.shape, generator=generator, dtype=torch.float32)
    return (1.0 - sigma) * clean + sigma * noise


def _euler_step(
    engine: SingleShotEngine,
    current: Tensor,
    sigma: float,
    next_sigma: float,
    tables: tuple[RotaryTable, RotaryTable],
    window: KVWindow,
) -> Tensor:
    """One step along the velocity, in float32 on the CPU: the block is a megabyte, the pass a hundred teraflops."""
    velocity = engine.predict_velocity(current, sigma, *tables, window)
    return current + (next_sigma - sigma) * velocity.to("cpu")


def _table(engine: SingleShotEngine, latents: Tensor, frame_positions: range, fps: float) -> RotaryTable:
    return engine.rotary_table(frame_positions, tuple(latents.shape), fps)
