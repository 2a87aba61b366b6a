from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from sana_wm.models.stage1.preview import MAX_FRAMES, SCALE, LatentPreview


def test_a_preview_shows_the_colours_that_the_first_frame_taught_it() -> None:
    """Latents whose first channels carry the colours, among noise: the fit must find them, also in a later frame."""
    generator = torch.Generator().manual_seed(0)
    height, width = 22, 40
    latents = torch.randn((1, 128, 9, height, width), generator=generator)
    latents[:, :3] = torch.rand((1, 3, 9, height, width), generator=generator) * 2 - 0.5
    colours = ((latents[0, :3] + 0.5) / 2 * 255).clamp(0, 255).permute(1, 2, 3, 0).numpy()
    picture = Image.fromarray(colours[0].round().astype(np.uint8)).resize((1280, 704), Image.Resampling.NEAREST)
    strip = LatentPreview(latents[:, :, :1], picture).render(latents)
    assert strip.size == (MAX_FRAMES * width * SCALE, height * SCALE)
    small = np.asarray(strip.resize((MAX_FRAMES * width, height), Image.Resampling.BOX), dtype=float)
    last = small[:, -width:]
    assert np.abs(last - colours[8]).mean() < 25
    assert np.abs(last - colours[8]).mean() < 0.5 * np.abs(last - colours[0]).mean()
