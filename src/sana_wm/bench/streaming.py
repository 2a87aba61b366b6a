"""The streaming student at full size, random weights, one chunk at a time: Stage 1, refiner and decode rows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel
from torch import Tensor

from sana_wm.bench.ceilings import Ceilings
from sana_wm.bench.random_stage1 import build_inputs
from sana_wm.bench.refiner_weights import build_transformer as build_refiner
from sana_wm.bench.refiner_weights import drop_audio, drop_prompt_projections
from sana_wm.models.refiner.block_stream import BlockStream
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.models.stage1.conditioning import tensor_bytes
from sana_wm.models.streaming.engine import StreamingEngine
from sana_wm.models.streaming.noise import draw_chunk
from sana_wm.models.streaming.sampler import sample_chunks
from sana_wm.models.vae.streaming_decoder import StreamingDecoder
from sana_wm.names import StreamingVersion
from sana_wm.planning.decode import DecodePlan, decode_tflop
from sana_wm.planning.refiner import Refinement, measure_refiner, refinement_tflop
from sana_wm.planning.stage1 import Stage1Plan
from sana_wm.planning.streaming import CHUNK_FRAMES, Window, chunk_ranges, chunk_tflop
from sana_wm.runtime.device import device_memory, empty_cache, reset_peak, synchronize
from sana_wm.sizes import GIB
from sana_wm.weights.stored import entries_of

SEED = 42
RELEASED_PLANE = (22, 40)
#: From this chunk on every chunk sees as much as any: the first, the one before it, itself.
FIRST_STEADY = 2
WARM_UP_CHUNKS = 3
REFINER_FPS, REFINER_BLOCKS = 16.0, 9


def stage1_row(
    transformer: SanaWMTransformer3DModel,
    grid: tuple[int, int, int],
    ceilings: Ceilings,
    *,
    budget_gib: float | None = None,
    version: StreamingVersion = "main",
    repeats: int = 1,
) -> dict[str, object]:
    """A whole clip; `seconds` is that of a steady chunk, five passes over three latent frames.

    Args:
        transformer: Of random weights.
        grid: Latent frames, height, width of the clip.
        ceilings: Of the device.
        budget_gib: Of the working set, without the weights.
        version: Which form of the arithmetic.
        repeats: Clips, after a warm-up of three chunks.
    """
    device = next(transformer.parameters()).device
    clip = _RandomClip(transformer, grid, budget_gib, version)
    empty_cache(device)
    reset_peak(device)
    for _ in clip.chunks(WARM_UP_CHUNKS):
        pass
    count = len(clip.ranges)
    seconds = [between for _ in range(repeats) for between in _times(clip.chunks(count), device)]
    steady = [taken for index, taken in enumerate(seconds) if index % count >= FIRST_STEADY]
    tflop = clip.passes * chunk_tflop(transformer.config, chunk_ranges(grid[0]), count - 1, grid[1:], Window())
    weights_bytes = sum(parameter.nbytes for parameter in transformer.parameters())
    median = statistics.median(steady)
    return {
        "engine": "sana_wm",
        "variant": "streaming",
        "version": version,
        "latent_frames": grid[0],
        "chunk_latent_frames": CHUNK_FRAMES,
        "dtype": str(next(transformer.parameters()).dtype).removeprefix("torch."),
        "seconds": median,
        "all_seconds": seconds,
        "clip_seconds": sum(seconds) / repeats,
        "passes": clip.passes,
        "tflop": tflop,
        "tflops": tflop / median,
        "fraction_of_matmul_ceiling": tflop / median / ceilings.matmul_tflops,
        "peak_bytes": device_memory(device).peak_bytes,
        "weights_bytes": weights_bytes,
        "predicted_bytes": weights_bytes + clip.plan.working_set_bytes,
        "remembered_bytes": clip.remembered_bytes,
        "plan": clip.plan.as_json(),
        "budget_gib": budget_gib,
        "notes": f"seconds: median of chunks {FIRST_STEADY} to {count - 1}, with their noise and the copy to the host",
    }


class _RandomClip:
    """A clip of random numbers, made chunk by chunk; arguments as of `stage1_row`.

    Attributes:
        ranges: Latent frames of each chunk.
        passes: Through the transformer, a chunk.
        remembered_bytes: The most that a chunk left for the next.
    """

    def __init__(
        self,
        transformer: SanaWMTransformer3DModel,
        grid: tuple[int, int, int],
        budget_gib: float | None,
        version: StreamingVersion,
    ) -> None:
        self._inputs = inputs = build_inputs(transformer, grid)
        budget = None if budget_gib is None else int(budget_gib * GIB)
        self._engine = StreamingEngine(transformer, version=version, working_set_bytes=budget)
        self._conditioning = self._engine.prepare(
            inputs.prompt_embeds[1:], inputs.prompt_attention_mask[1:], inputs.camera
        )
        self.ranges = self._conditioning.ranges
        self.passes = len(self._engine.timesteps) + 1
        self.remembered_bytes = 0

    @property
    def plan(self) -> Stage1Plan:
        """How the engine works."""
        assert self._engine.plan is not None
        return self._engine.plan

    def chunks(self, most: int) -> Iterator[None]:
        """Make so many chunks, from the first; each is done when it is yielded."""
        shape = tuple(self._inputs.latents.shape)
        made = sample_chunks(
            self._engine,
            self._conditioning,
            self._inputs.latents[:, :, :1],
            lambda chunk, frames: draw_chunk("chunk", SEED, shape, chunk, frames),
        )
        for chunk in made:
            if not bool(torch.isfinite(chunk.latents).all()):
                raise AssertionError("the chunk has numbers that are not finite")
            self.remembered_bytes = max(self.remembered_bytes, tensor_bytes(*chunk.memory.to_tensors().values()))
            yield
            if chunk.memory.next_chunk == most:
                return


def refiner_row(
    engine: RefinerEngine,
    prompt: tuple[Tensor, Tensor],
    plane: tuple[int, int],
    block_parameters: int,
    *,
    kv_max_frames: int = 11,
    blocks: int = REFINER_BLOCKS,
    predicted_bytes: int | None = None,
) -> dict[str, Any]:
    """Blocks of three latent frames, each refined in three passes and captured in a fourth.

    Args:
        engine: With all weights on the device.
        prompt: prompt_embeds and their mask.
        plane: Latent height and width.
        block_parameters: Parameters that a pass multiplies with.
        kv_max_frames: Sink and history.
        blocks: How many.
        predicted_bytes: What the plan says of the peak.
    """
    device = engine.device
    channels = int(engine.config["in_channels"])
    engine.set_prompt(*prompt)
    empty_cache(device)
    reset_peak(device)
    seconds = _times(_refine_blocks(engine, (channels, *plane), blocks, kv_max_frames), device)
    full = -(-(kv_max_frames - 1) // CHUNK_FRAMES)
    steady = seconds[full + 1 :]  # the first block with a full window warms its kernels up
    asked = [
        Refinement((1, channels, 1 + CHUNK_FRAMES * count, *plane), "autoregressive", kv_max_frames=kv_max_frames)
        for count in (full + 2, full + 3)
    ]
    shorter, longer = (refinement_tflop(engine.config, clip_asked, block_parameters) for clip_asked in asked)
    return {
        "engine": "sana_wm",
        "variant": "streaming",
        "latent_frames": CHUNK_FRAMES,
        "kv_max_frames": kv_max_frames,
        "dtype": str(engine.dtype).removeprefix("torch."),
        "seconds": statistics.median(steady),
        "all_seconds": seconds,
        "tflop": longer - shorter,
        "tflops": (longer - shorter) / statistics.median(steady),
        "peak_bytes": device_memory(device).peak_bytes,
        "predicted_bytes": predicted_bytes,
        "weights_bytes": sum(weight.nbytes for weight in engine.transformer.parameters() if not weight.is_meta),
        "notes": "seconds: a block with a full window, three passes and one that captures it",
    }


def _refine_blocks(
    engine: RefinerEngine, plane: tuple[int, int, int], blocks: int, kv_max_frames: int
) -> Iterator[None]:
    """Refine blocks of random numbers, (C, h, w) a frame; each is done when it is yielded."""
    channels, *size = plane
    clip = torch.randn(1, channels, 1 + CHUNK_FRAMES * blocks, *size, generator=torch.Generator().manual_seed(SEED))
    stream = BlockStream(
        engine,
        clip[:, :, :1],
        history_frames=kv_max_frames - 1,
        block_frames=CHUNK_FRAMES,
        fps=REFINER_FPS,
        generator=torch.Generator("cpu").manual_seed(SEED),
    )
    for start in range(1, clip.shape[2], CHUNK_FRAMES):
        stream.refine(clip[:, :, start : start + CHUNK_FRAMES])
        yield


def released_refiner_row(device: torch.device) -> dict[str, Any]:
    """`refiner_row` at the released size, its video half resident."""
    transformer = build_refiner(device)
    drop_audio(transformer)
    shapes = ((name, tuple(weight.shape)) for name, weight in transformer.named_parameters() if not weight.is_meta)
    tensors = entries_of(shapes, "BF16")
    asked = Refinement((1, 1, 1 + CHUNK_FRAMES * REFINER_BLOCKS, *RELEASED_PLANE), "autoregressive")
    sizes = measure_refiner(tensors, transformer.config, asked, torch.bfloat16.itemsize)
    prompt_embeds = torch.randn(1, asked.text_tokens, transformer.config.caption_channels, device=device)
    prompt = prompt_embeds.bfloat16(), torch.ones(1, asked.text_tokens, dtype=torch.int64, device=device)
    engine = RefinerEngine(transformer)
    engine.set_prompt(*prompt)
    drop_prompt_projections(transformer)
    parameters = sizes.blocks * sizes.block_parameters
    return refiner_row(engine, prompt, RELEASED_PLANE, parameters, predicted_bytes=sizes.resident_bytes)


def decode_row(vae: Any, plan: DecodePlan, latent_frames: int, plane: tuple[int, int]) -> dict[str, Any]:
    """A causal decode, chunk by chunk; `seconds` is that of three latent frames, 24 of video, to 8-bit on the device.

    Args:
        vae: Of random weights, with a causal decoder.
        plan: Of its decode.
        latent_frames: Of the clip.
        plane: Latent height and width.
    """
    device: torch.device = vae.device
    decoder = StreamingDecoder(vae, plan)
    channels = int(vae.config["latent_channels"])
    latents = torch.randn(latent_frames, channels, *plane, generator=torch.Generator().manual_seed(SEED)).to(device)
    ranges = chunk_ranges(latent_frames)

    def decode() -> list[float]:
        synchronize(device)
        marks = [time.perf_counter()]

        def pieces() -> Iterator[Tensor]:
            for frames in ranges:
                yield latents[frames.start : frames.stop]
                synchronize(device)
                marks.append(time.perf_counter())

        count = sum(len(frames) for frames in decoder.decode(pieces()))
        if count != 8 * latent_frames - 7:
            raise AssertionError(f"{count} frames from {latent_frames} latent frames")
        return [end - start for start, end in pairwise(marks)]

    empty_cache(device)
    reset_peak(device)
    decode()
    seconds = decode()
    shape = (1, channels, latent_frames, *plane)
    shorter = (*shape[:2], latent_frames - CHUNK_FRAMES, *plane)
    tflop = decode_tflop(vae.config, shape) - decode_tflop(vae.config, shorter)
    median = statistics.median(seconds[1:])
    return {
        "engine": "sana_wm",
        "variant": "streaming",
        "latent_frames": CHUNK_FRAMES,
        "dtype": str(vae.dtype).removeprefix("torch."),
        "seconds": median,
        "all_seconds": seconds,
        "tflop": tflop,
        "tflops": tflop / median,
        "peak_bytes": device_memory(device).peak_bytes,
        "predicted_bytes": plan.predicted_bytes,
        "plan": plan.as_json(),
        "notes": "seconds: median of the chunks after the first, causal decoder",
    }


def _times(steps: Iterator[None], device: torch.device, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Seconds of each step, the device idle before and after."""
    seconds: list[float] = []
    synchronize(device)
    started = clock()
    for _ in steps:
        synchronize(device)
        now = clock()
        seconds.append(now - started)
        started = now
    return seconds
