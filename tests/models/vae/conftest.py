"""Tiny VAEs of diffusers' real class, with the released decoder's topology unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

TINY = {
    "decoder_causal": False,
    "decoder_spatial_padding_mode": "reflect",
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
    "latent_channels": 8,
    "decoder_block_out_channels": (16, 32, 64),
    "decoder_layers_per_block": (2, 2, 2, 2),
    "block_out_channels": (8, 8, 8, 8),
    "layers_per_block": (1, 1, 1, 1, 1),
}

# Four up blocks, channel changes inside a block, no residual upsampling, temporal and spatial upsamplers.
FOUR_BLOCKS = {
    "decoder_block_out_channels": (16, 32, 32, 64),
    "decoder_layers_per_block": (2, 2, 1, 1, 1),
    "decoder_spatio_temporal_scaling": (True,) * 4,
    "decoder_inject_noise": (False,) * 5,
    "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
    "upsample_residual": (False,) * 4,
    "upsample_factor": (2, 2, 1, 2),
    "decoder_spatial_padding_mode": "zeros",
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_vae() -> Callable[..., Any]:
    """A seeded tiny VAE; keyword arguments replace configuration values."""

    def make(**changes: Any) -> Any:
        import torch
        from diffusers import AutoencoderKLLTX2Video

        torch.manual_seed(0)
        vae = AutoencoderKLLTX2Video(**{**TINY, **changes}).eval().requires_grad_(False)
        vae.latents_mean.copy_(torch.linspace(-0.5, 0.5, 8))
        vae.latents_std.copy_(torch.linspace(0.5, 1.5, 8))
        return vae

    return make


@pytest.fixture
def four_blocks() -> dict[str, Any]:
    """Configuration of a decoder of another topology."""
    return dict(FOUR_BLOCKS)
