"""The student's Stage 1, chunk by chunk, against diffusers' stock network, which knows no chunks and remembers nothing.

The stock network takes the whole clip up to the chunk at hand in every pass, with earlier chunks as clean latents. What
looks along time in it is asked once for each chunk, with the clip up to that chunk's end, and only the chunk's own
frames of the answer are taken: no frame sees a later chunk, and nothing is carried from pass to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import torch
from diffusers.models.transformers import transformer_sana_wm as stock
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sana_wm.camera.conditioning import condition_camera
from sana_wm.camera.dialects import action_trajectory
from sana_wm.models.streaming.engine import StreamingEngine
from sana_wm.models.streaming.sampler import sample_chunks
from sana_wm.planning.streaming import TIMESTEPS, chunk_ranges
from sana_wm.runtime.device import dtype_named
from sana_wm.sizes import LATENT_CHANNELS, PIXELS_PER_LATENT
from sana_wm.weights.tiny_models import GEMMA2_WIDTH, TinyNetwork, build_network

STAGE = "streaming: 3 chunks, stock"
#: Chunks of four, three and three latent frames; each sees all before it, so that the window drops nothing.
NUM_FRAMES, HEIGHT, WIDTH = 73, 96, 160


@dataclass(frozen=True)
class Clip:
    """What both are given, on the CPU.

    Attributes:
        noise: (1, 128, 10, h, w), a picture's latents in frame 0.
        prompt_embeds: (1, 1, L, D).
        prompt_attention_mask: (1, L), with padding at the end.
        camera: What `condition_camera` makes of a path forwards with a turn.
    """

    noise: Tensor
    prompt_embeds: Tensor
    prompt_attention_mask: Tensor
    camera: Mapping[str, Tensor]

    @property
    def ranges(self) -> tuple[range, ...]:
        """The latent frames of each chunk."""
        return chunk_ranges(self.noise.shape[2])


def build_clip() -> Clip:
    """The same every time."""
    generator = torch.Generator("cpu").manual_seed(0)
    trajectory = action_trajectory("w-40,jw-32", dialect="pr379", translation_speed=0.05, rotation_speed_deg=1.2)
    intrinsics = np.tile(np.array([140.0, 140.0, 80.0, 48.0], dtype=np.float32), (NUM_FRAMES, 1))
    camera = condition_camera(trajectory.c2w[:NUM_FRAMES], intrinsics, height=HEIGHT, width=WIDTH)
    names = ("raymap", "chunk_plucker", "P", "P_inv")
    mask = torch.ones(1, 24, dtype=torch.int64)
    mask[0, 20:] = 0
    frames, height, width = len(camera.raymap), HEIGHT // PIXELS_PER_LATENT, WIDTH // PIXELS_PER_LATENT
    return Clip(
        torch.randn(1, LATENT_CHANNELS, frames, height, width, generator=generator),
        torch.randn(1, 1, 24, GEMMA2_WIDTH, generator=generator),
        mask,
        {name: torch.from_numpy(getattr(camera, name)) for name in names},
    )


def run_engine(clip: Clip, device: str, dtype: str) -> dict[str, Tensor]:
    """By stage, the finished latents of our engine, float32 on the CPU.

    Args:
        clip: The inputs.
        device: Where to compute: `mps`, `cuda` or `cpu`.
        dtype: Of the network: `float32` or `bfloat16`.
    """
    of_network = dtype_named(dtype)
    engine = StreamingEngine(_student(device, of_network), attention_dtype=of_network)
    conditioning = engine.prepare(clip.prompt_embeds.to(of_network), clip.prompt_attention_mask, clip.camera)
    chunks = sample_chunks(engine, conditioning, clip.noise[:, :, :1], lambda _, frames: _cut(clip.noise, frames))
    return {STAGE: torch.cat([chunk.latents for chunk in chunks], dim=2)}


@torch.no_grad()
def run_stock(clip: Clip, dtype: str) -> dict[str, Tensor]:
    """The same by the stock network, on the CPU: a device's fault is in one of the two only."""
    transformer = _student("cpu", dtype_named(dtype))
    raymap, plucker = clip.camera["raymap"][None], clip.camera["chunk_plucker"][None]
    latents = clip.noise.clone()
    with _as_a_student(transformer, clip.ranges, dtype):
        for frames in clip.ranges:
            noisy = slice(max(1, frames.start), frames.stop)  # the picture stays as it is
            for timestep, following in pairwise((*TIMESTEPS, 0)):
                timesteps = torch.zeros(1, 1, frames.stop)
                timesteps[:, :, noisy] = timestep
                velocity = transformer(
                    latents[:, :, : frames.stop],
                    timesteps,
                    clip.prompt_embeds,
                    mask=clip.prompt_attention_mask,
                    camera_conditions=raymap[:, : frames.stop],
                    chunk_plucker=plucker[:, :, : frames.stop],
                    return_dict=False,
                )[0]
                latents[:, :, noisy] += (following - timestep) / 1000 * velocity[:, :, noisy].float()
    return {STAGE: latents}


def _student(device: str, dtype: torch.dtype) -> stock.SanaWMTransformer3DModel:
    """Random weights; heads of 32, which stock attention does not pad: padding would change its scale."""

    def build() -> Any:
        return stock.SanaWMTransformer3DModel(
            num_layers=4,
            hidden_size=64,
            num_attention_heads=4,
            linear_head_dim=32,
            softmax_every_n=2,
            chunk_plucker_post_attn_blocks=4,
            caption_channels=GEMMA2_WIDTH,
        )

    _, tensors = build_network(TinyNetwork("student", build), seed=0)
    transformer = build()  # not on the meta device: its table of angles is no weight
    transformer.load_state_dict({name: tensor.to(device, dtype) for name, tensor in tensors.items()}, assign=True)
    return transformer.eval()


def _cut(latents: Tensor, frames: range) -> Tensor:
    return latents[:, :, frames.start : frames.stop].clone()


@contextmanager
def _as_a_student(transformer: stock.SanaWMTransformer3DModel, ranges: Sequence[range], dtype: str) -> Generator[None]:
    """What a chunk may see, and what the student leaves out of the stock arithmetic (docs/differences.md)."""
    for module in transformer.modules():
        if isinstance(module, stock.SanaWMTemporalShortConvolution):
            module.forward = _short_convolution(module.forward, ranges)
        elif isinstance(module, stock.GLUMBConvTemp):
            convolution: nn.Conv2d = module.t_conv
            convolution.forward = _temporal_convolution(convolution.forward, ranges)
    for block in cast("Sequence[stock.SanaVideoMSCamCtrlBlock]", transformer.blocks):
        block.attn.forward = _attention(block.attn.forward, ranges)
    with ExitStack() as stack:
        stack.enter_context(patch.object(stock, "_downscale_to_reference_rms", _unscaled))
        if dtype == "float32":
            stack.enter_context(_Unrounded())
        yield


def _unscaled(reference: Tensor, transformed: Tensor) -> Tensor:
    """The student's cameras are not scaled back."""
    del reference
    return transformed


class _Unrounded(TorchFunctionMode):
    """Stock attention rounds to bfloat16 even in a float32 network."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is Tensor.bfloat16 else func(*args, **(kwargs or {}))


Layer = Callable[..., Tensor]


def _by_chunk(ranges: Sequence[range], total: int, dim: int, answer: Callable[[int], Tensor]) -> Tensor:
    """Each chunk's frames of the answer for the clip up to its end; frames or their tokens lie along `dim`."""
    parts: list[Tensor] = []
    for frames in ranges:
        if frames.stop <= total:
            whole = answer(frames.stop)
            per_frame = whole.shape[dim] // frames.stop
            parts.append(whole.narrow(dim, frames.start * per_frame, len(frames) * per_frame))
    return torch.cat(parts, dim=dim)


def _short_convolution(forward: Layer, ranges: Sequence[range]) -> Layer:
    def run(tokens: Tensor, num_frames: int) -> Tensor:
        per_frame = tokens.shape[1] // num_frames
        return _by_chunk(ranges, num_frames, 1, lambda stop: forward(tokens[:, : stop * per_frame], stop))

    return run


def _temporal_convolution(forward: Layer, ranges: Sequence[range]) -> Layer:
    def run(frames: Tensor) -> Tensor:
        return _by_chunk(ranges, frames.shape[2], 2, lambda stop: forward(frames[:, :, :stop]))

    return run


def _attention(forward: Layer, ranges: Sequence[range]) -> Layer:
    def run(x: Tensor, *, rotary_emb: Tensor, **given: Any) -> Tensor:
        total, *plane = given["HW"]
        per_frame = x.shape[1] // total
        *matrices, angles = given["ucpe_ray_transforms"]

        def answer(stop: int) -> Tensor:
            tokens = slice(0, stop * per_frame)
            # Stock classes make the rays in float32, and multiply in the network's dtype.
            rays = [matrix[:, tokens].to(x.dtype) for matrix in matrices]
            return forward(
                x[:, tokens],
                HW=(stop, *plane),
                rotary_emb=rotary_emb[:, :, tokens],
                camera_conditions=given["camera_conditions"][:, :stop],
                ucpe_ray_transforms=(*rays, angles[:, :, tokens]),
            )

        return _by_chunk(ranges, total, 1, answer)

    return run
