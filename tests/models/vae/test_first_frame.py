from __future__ import annotations

import torch

from sana_wm.models.vae.first_frame import encode_first_frame


def test_equals_the_pipeline_of_diffusers(make_vae):
    from diffusers import SanaWMPipeline

    vae = make_vae(scaling_factor=0.7)
    pixel_values = torch.rand(1, 3, 64, 96) * 2 - 1
    pipeline = SanaWMPipeline.__new__(SanaWMPipeline)
    object.__setattr__(pipeline, "vae", vae)
    with torch.no_grad():
        expected = SanaWMPipeline._encode_first_frame(pipeline, pixel_values, torch.device("cpu"), torch.float32)
    latents = encode_first_frame(vae, pixel_values)
    assert latents.shape == (1, 8, 1, 2, 3)
    assert torch.equal(latents, expected)


def test_tiling_does_not_reach_the_conditioning_frame(make_vae):
    vae = make_vae()
    pixel_values = torch.rand(1, 3, 64, 96) * 2 - 1
    expected = encode_first_frame(vae, pixel_values)
    vae.enable_tiling(tile_sample_min_height=32, tile_sample_min_width=32)
    assert torch.equal(encode_first_frame(vae, pixel_values), expected)
