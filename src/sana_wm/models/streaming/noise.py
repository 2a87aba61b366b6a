"""The noise that each chunk starts from."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from sana_wm.names import ChunkNoise


def draw_chunk(noise: ChunkNoise, seed: int, clip_shape: tuple[int, ...], chunk: int, frames: range) -> Tensor:
    """The start noise of one chunk, float32 on the CPU: a seed means the same video on every device.

    Args:
        noise: `chunk`: from the seed and the chunk's number alone, so that a longer video begins like a shorter one;
            `clip`: cut from one draw for the whole clip, as upstream has it.
        seed: Of the run.
        clip_shape: (1, C, T, h, w) of the whole clip.
        chunk: Number of the chunk.
        frames: Its latent frames.

    Returns:
        (1, C, n, h, w).
    """
    if noise == "clip":
        generator = torch.Generator("cpu").manual_seed(seed)
        return torch.randn(clip_shape, generator=generator)[:, :, frames.start : frames.stop].clone()
    # A hash, not seed + chunk: neighbouring seeds would share the noise of neighbouring chunks.
    digest = hashlib.sha256(f"{seed}/chunk/{chunk}".encode()).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest[:7], "little"))
    return torch.randn((*clip_shape[:2], len(frames), *clip_shape[3:]), generator=generator)
