"""The benchmark's rows, at toy size: every field that a report shows is there and makes sense."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLLTX2Video, SanaWMLTX2RefinerTransformer3DModel

from sana_wm.bench.ceilings import Ceilings
from sana_wm.bench.random_stage1 import build_transformer
from sana_wm.bench.streaming import decode_row, refiner_row, stage1_row
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.planning.decode import plan_decode

from .test_stream import PLANE, SMALL

CPU = torch.device("cpu")


def test_a_stage1_row_is_of_steady_chunks():
    transformer = build_transformer(SMALL, CPU, torch.bfloat16)
    row = stage1_row(transformer, (13, *PLANE), Ceilings(1.0, 1.0), repeats=2)
    assert len(row["all_seconds"]) == 2 * 4
    assert row["passes"] == 5
    assert min(row["all_seconds"]) <= row["seconds"] <= max(row["all_seconds"])
    assert 0 < row["remembered_bytes"] < row["predicted_bytes"]


def test_a_decode_row_is_of_chunks_after_the_first():
    vae = AutoencoderKLLTX2Video(
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
        latent_channels=8,
        decoder_block_out_channels=(16, 32, 64),
        decoder_layers_per_block=(1, 1, 1, 1),
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    plan = plan_decode(vae.config, *PLANE, 4, 10**9, implementation="window")
    row = decode_row(vae.eval().requires_grad_(False), plan, 7, PLANE)
    assert len(row["all_seconds"]) == 2
    assert row["seconds"] == row["all_seconds"][1]


def test_a_refiner_row_is_of_blocks_with_a_full_window():
    transformer = SanaWMLTX2RefinerTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=20,
        audio_num_attention_heads=2,
        audio_attention_head_dim=8,
        audio_cross_attention_dim=16,
    ).eval()
    prompt = torch.randn(1, 10, 20), torch.ones(1, 10, dtype=torch.int64)
    row = refiner_row(RefinerEngine(transformer), prompt, PLANE, 1000, kv_max_frames=5, blocks=5)
    assert len(row["all_seconds"]) == 5
    assert row["tflop"] > 0
