"""Previews of a run in progress: latents as colours by a linear map, without loading the VAE.

The map is fitted once per run on the one latent frame whose picture is known, the first: 880 tokens of 128 channels
against the picture at latent resolution (`sana_wm.models.latent_colours`).
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from sana_wm.models.latent_colours import LatentColours, tokens_of

#: Six latent frames of the released 40 columns, eightfold, are 1920 pixels side by side: a screen's width.
MAX_FRAMES = 6
SCALE = 8


class LatentPreview:
    """Turns latents into a small picture.

    Args:
        first_latent: (1, C, 1, h, w) of the clean first frame.
        picture: The first frame as the VAE saw it, of any size.
    """

    def __init__(self, first_latent: torch.Tensor, picture: Image.Image) -> None:
        height, width = first_latent.shape[-2:]
        colours = np.asarray(picture.resize((width, height), Image.Resampling.BOX), dtype=np.float64).reshape(-1, 3)
        fit = LatentColours()
        fit.add(tokens_of(first_latent[0, :, 0]), colours)
        self._map = fit.fit()

    def render(self, latents: torch.Tensor) -> Image.Image:
        """Up to six evenly spaced latent frames side by side, each enlarged eightfold.

        Args:
            latents: (1, C, F, h, w), best those of the predicted clean video.
        """
        frames, height, width = latents.shape[2:]
        chosen = np.unique(np.linspace(0, frames - 1, min(frames, MAX_FRAMES)).round().astype(int))
        pictures = [
            self._map.colours(tokens_of(latents[0, :, index])).reshape(height, width, 3) for index in chosen.tolist()
        ]
        strip = np.concatenate(pictures, axis=1).clip(0, 255).round().astype(np.uint8)
        return Image.fromarray(strip).resize((strip.shape[1] * SCALE, strip.shape[0] * SCALE), Image.Resampling.BICUBIC)
