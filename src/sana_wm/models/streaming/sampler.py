"""The loop over chunks: each is denoised, remembered, and final from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sana_wm.models.streaming.conditioning import StreamConditioning
from sana_wm.models.streaming.engine import StreamingEngine
from sana_wm.models.streaming.memory import StreamMemory

StartNoise = Callable[[int, range], Tensor]
"""From a chunk's number and its latent frames to its noise, (1, C, n, h, w)."""


@dataclass(frozen=True)
class FinishedChunk:
    """A chunk that nothing will change any more.

    Attributes:
        frames: Its latent frames.
        latents: (1, C, n, h, w) float32 on the CPU.
        memory: What the chunks up to this one left: enough to go on with the next with the same bits.
    """

    frames: range
    latents: Tensor
    memory: StreamMemory


def sample_chunks(
    engine: StreamingEngine,
    conditioning: StreamConditioning,
    first_latent: Tensor,
    start_noise: StartNoise,
    memory: StreamMemory | None = None,
) -> Iterator[FinishedChunk]:
    """Make the chunks of a video one after another.

    The last chunk is remembered too: the video can be gone on with.

    Args:
        engine: On a loaded transformer.
        conditioning: From its `prepare`.
        first_latent: (1, C, 1, h, w) of the picture; the first frame stays it bit for bit.
        start_noise: Gives each chunk its noise.
        memory: Of an earlier chunk, to go on behind it; from the first one when left out.
    """
    memory = memory or engine.new_memory()
    ranges = conditioning.ranges
    noise: Tensor | None = None
    for chunk in range(memory.next_chunk, len(ranges)):
        latents = start_noise(chunk, ranges[chunk]) if noise is None else noise
        if chunk == 0:
            latents[:, :, :1] = first_latent
        made = engine.denoise(latents, conditioning, memory)
        memory = engine.remember(made, conditioning, memory)
        # Drawn here, where the device is still at work.
        noise = start_noise(chunk + 1, ranges[chunk + 1]) if chunk + 1 < len(ranges) else None
        yield FinishedChunk(ranges[chunk], made.to("cpu"), memory)


def recall(engine: StreamingEngine, conditioning: StreamConditioning, latents: Tensor, chunks: int) -> StreamMemory:
    """The memory after some chunks from their latents alone: one pass a chunk instead of five, and the same bits.

    Args:
        engine: On the transformer that made them.
        conditioning: From its `prepare`, of the same prompts and camera.
        latents: (1, C, T, h, w), finished for all those chunks.
        chunks: How many.
    """
    memory = engine.new_memory()
    for frames in conditioning.ranges[:chunks]:
        memory = engine.remember(latents[:, :, frames.start : frames.stop].to(torch.float32), conditioning, memory)
    return memory
