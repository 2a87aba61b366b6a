"""Previews of a run in progress: latents as colours by a linear map, without loading the VAE.

The map is fitted once per run on the one latent frame whose picture is known, the first: 880 tokens of 128 channels
against the picture at latent resolution. It knows nothing of other checkpoints and needs no table of factors.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

#: Six latent frames of the released 40 columns, eightfold, are 1920 pixels side by side: a screen's width.
MAX_FRAMES = 6
SCALE = 8
#: Weight of the ridge penalty relative to the data: 128 channels against 880 samples need a little.
RIDGE = 1e-2


class LatentPreview:
    """Turns latents into a small picture.

    Args:
        first_latent: (1, C, 1, h, w) of the clean first frame.
        picture: The first frame as the VAE saw it, of any size.
    """

    def __init__(self, first_latent: torch.Tensor, picture: Image.Image) -> None:
        height, width = first_latent.shape[-2:]
        colours = np.asarray(picture.resize((width, height), Image.Resampling.BOX), dtype=np.float64).reshape(-1, 3)
        samples = _with_constant(_to_numpy(first_latent[0, :, 0]))
        gram = samples.T @ samples
        penalty = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        self._factors = np.linalg.solve(gram + penalty, samples.T @ colours)

    def render(self, latents: torch.Tensor) -> Image.Image:
        """Up to six evenly spaced latent frames side by side, each enlarged eightfold.

        Args:
            latents: (1, C, F, h, w), best those of the predicted clean video.
        """
        frames, height, width = latents.shape[2:]
        chosen = np.unique(np.linspace(0, frames - 1, min(frames, MAX_FRAMES)).round().astype(int))
        pictures = [
            (_with_constant(_to_numpy(latents[0, :, index])) @ self._factors).reshape(height, width, 3)
            for index in chosen.tolist()
        ]
        strip = np.concatenate(pictures, axis=1).clip(0, 255).round().astype(np.uint8)
        return Image.fromarray(strip).resize((strip.shape[1] * SCALE, strip.shape[0] * SCALE), Image.Resampling.BICUBIC)


def _to_numpy(frame: torch.Tensor) -> NDArray[np.float64]:
    """(C, h, w) -> (h * w, C)."""
    return frame.detach().float().cpu().flatten(1).T.numpy().astype(np.float64)


def _with_constant(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([samples, np.ones((len(samples), 1))], axis=1)
