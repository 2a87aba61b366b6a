"""The first frame as a latent: what Stage 1 holds fixed while it makes the rest."""

from __future__ import annotations

from typing import Any

import torch

from sana_wm.replacements.catalogue import require


@torch.no_grad()
def encode_first_frame(vae: Any, pixel_values: torch.Tensor) -> torch.Tensor:
    """Encode one picture, untiled (0.16 GB of work at 704x1280; tiles would leave blended seams in the conditioning).

    Args:
        vae: A loaded `AutoencoderKLLTX2Video`; its tiling is switched off.
        pixel_values: (1, 3, H, W) in [-1, 1], any float dtype and device.

    Returns:
        Normalized latents (1, C, 1, h, w) in the VAE's dtype, on its device: the mode of the posterior.

    Source: `_encode_first_frame` in diffusers' pipelines/sana_wm/pipeline_sana_wm.py.
    """
    require("vae-first-frame")
    vae.disable_tiling()
    latents = vae.encode(pixel_values.unsqueeze(2).to(vae.device, vae.dtype)).latent_dist.mode()
    mean = vae.latents_mean.view(1, -1, 1, 1, 1).to(latents)
    std = vae.latents_std.view(1, -1, 1, 1, 1).to(latents)
    return (latents - mean) * vae.config.scaling_factor / std
