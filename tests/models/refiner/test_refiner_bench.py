"""The refiner's benchmark at toy size: its rows, and that streamed weights end in the resident engine's bits."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

TINY = {
    "num_layers": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 32,
    "cross_attention_dim": 64,
    "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 16,
    "audio_cross_attention_dim": 32,
    "rope_type": "split",
}


def test_the_benchmark_compares_stock_resident_and_streamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    from sana_wm.bench import refiner, refiner_weights
    from sana_wm.planning.refiner import Refinement, measure_refiner
    from sana_wm.weights.stored import entries_of

    monkeypatch.setattr(refiner_weights, "CONFIG", TINY)
    monkeypatch.setattr(refiner, "LATENT_HEIGHT", 2)
    monkeypatch.setattr(refiner, "LATENT_WIDTH", 3)
    monkeypatch.setattr(refiner, "TEXT_TOKENS", 16)
    empty = refiner_weights.build_transformer(torch.device("meta"))
    tensors = entries_of(((name, tuple(weight.shape)) for name, weight in empty.named_parameters()), "BF16")
    refinement = Refinement((1, 128, 8, 2, 3), "autoregressive", text_tokens=16)
    sizes = measure_refiner(tensors, empty.config, refinement, torch.bfloat16.itemsize)
    budget_gib = sizes.streamed_bytes(0) / 2**30
    # The toy's blocks are smaller than its window, which the planner would rather keep whole.
    monkeypatch.setattr(type(sizes), "resident_bytes", property(lambda _: 2**40))

    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    refiner.add_arguments(parser)
    options = ["--latent-frames", "8", "--repeats", "1", "--against", "diffusers", "--weights", str(tmp_path)]
    report: dict[str, Any] = refiner.run(parser.parse_args([*options, "--budget-gib", repr(budget_gib)]))

    stock, resident, streamed = report["rows"]
    assert (stock["engine"], resident["engine"], streamed["engine"]) == ("diffusers", "sana_wm", "sana_wm")
    assert report["agreement"] < 0.02
    assert resident["plan"]["mode"] == "resident"
    assert resident["plan"]["resident_blocks"] == 4
    assert streamed["plan"]["mode"] == "streamed"
    assert streamed["passes"] == 12
    assert streamed["read_bytes"] == 12 * 4 * sizes.block_bytes
    assert streamed["same_bits"]
    assert stock["weights_bytes"] > resident["weights_bytes"] > streamed["weights_bytes"]
