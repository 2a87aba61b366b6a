"""Random refiner weights on a disk, for benchmarks that read them, and the text phase measured on such weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_sana_wm_refiner import SanaWMLTX2RefinerTransformer3DModel
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Gemma3TextConfig, Gemma3TextModel

from sana_wm.models.refiner.loading import stream_gemma3
from sana_wm.models.refiner.text import connect, encode_levels
from sana_wm.planning.refiner import TEXT_PARTS
from sana_wm.runtime.device import device_memory, empty_cache, reset_peak
from sana_wm.sizes import REFINER_PROMPT_TOKENS
from sana_wm.weights.empty_checkpoint import RELEASED
from sana_wm.weights.layout import GEMMA3_RULES, REFINER_RULES, Component

CONFIG = RELEASED["refiner_transformer"]
SHARD_BYTES = 2 * 10**9
WRITER_THREADS = 6

# Enough for the peak: one layer is on the device at a time, and the levels are on the CPU.
MEASURED_LAYERS = 6
LEVELS = 49


def build_transformer(device: torch.device) -> Any:
    """The whole transformer, 18.88 B parameters in bfloat16, with random weights made on the device."""
    torch.manual_seed(0)
    return _random(lambda: SanaWMLTX2RefinerTransformer3DModel(**CONFIG), device)


def drop_audio(transformer: nn.Module) -> None:
    """Leave the video-only half, 13.04 B parameters."""
    _drop(transformer, lambda name: REFINER_RULES(name) is None)


def drop_prompt_projections(transformer: nn.Module) -> None:
    """Leave what the passes need, as a run does once the prompt's keys and values are made."""
    _drop(transformer, lambda name: any(part in name for part in TEXT_PARTS))


def _drop(transformer: nn.Module, unwanted: Callable[[str], bool]) -> None:
    for name, parameter in list(transformer.named_parameters()):
        if unwanted(name):
            path, _, leaf = name.rpartition(".")
            setattr(transformer.get_submodule(path), leaf, nn.Parameter(parameter.to("meta"), requires_grad=False))


def write_checkpoint(transformer: Any, folder: Path) -> Component:
    """Write the video half of a transformer as a diffusers folder in shards of 2 GB."""
    folder.mkdir(parents=True, exist_ok=True)
    transformer.save_config(folder)
    tensors = {name: tensor for name, tensor in transformer.state_dict().items() if not tensor.is_meta}
    shards = _write_shards(tensors, folder)
    return Component("refiner_transformer", folder, folder / "config.json", shards=shards, rules=REFINER_RULES)


def text_encoder_row(folder: Path, device: torch.device) -> dict[str, Any]:
    """Peak device memory of the streamed text phase: Gemma-3 12B's layers (six of 48), then the whole connectors."""
    component = write_gemma3(folder, device, MEASURED_LAYERS)
    input_ids = torch.randint(0, 1000, (1, REFINER_PROMPT_TOKENS))
    mask = torch.ones_like(input_ids)
    mask[:, : REFINER_PROMPT_TOKENS // 2] = 0
    reset_peak(device)
    started = time.perf_counter()
    with stream_gemma3(component, device=device, dtype=torch.bfloat16) as text_encoder:
        encode_levels(text_encoder, input_ids, mask, device)
    gemma_s, gemma_peak_bytes = time.perf_counter() - started, device_memory(device).peak_bytes

    connectors = _random(lambda: LTX2TextConnectors(**RELEASED["connectors"]), device)
    connectors.audio_connector = None
    empty_cache(device)
    reset_peak(device)
    packed = torch.randn(1, REFINER_PROMPT_TOKENS, 3840 * LEVELS).bfloat16()
    started = time.perf_counter()
    encoding = connect(connectors, packed, mask)
    connectors_s = time.perf_counter() - started
    if not bool(torch.isfinite(encoding.prompt_embeds).all()):
        raise AssertionError("the connectors made numbers that are not finite")
    return {
        "engine": "sana_wm",
        "what": "text phase, streamed",
        "dtype": "bfloat16",
        "seconds": round(gemma_s * (LEVELS - 1) / MEASURED_LAYERS + connectors_s, 2),
        "peak_bytes": max(gemma_peak_bytes or 0, device_memory(device).peak_bytes or 0),
        "notes": f"{MEASURED_LAYERS} of 48 Gemma-3 layers measured in {gemma_s:.2f} s, peak {gemma_peak_bytes}; "
        f"connectors {connectors_s:.2f} s, peak {device_memory(device).peak_bytes}; seconds are scaled to 48 layers",
    }


def write_gemma3(folder: Path, device: torch.device, layers: int) -> Component:
    """Write random Gemma-3 layers and delete them again from the device."""
    released: dict[str, Any] = {**RELEASED["refiner_text_encoder"], "num_hidden_layers": layers}
    config = Gemma3TextConfig(**released)
    model = _random(lambda: Gemma3TextModel(config), device)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict(), default=str), encoding="utf-8")
    shards = _write_shards(dict(model.state_dict()), folder)
    return Component("refiner_text_encoder", folder, folder / "config.json", shards=shards, rules=GEMMA3_RULES)


def _random(factory: Any, device: torch.device) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            module: nn.Module = factory()
    finally:
        torch.set_default_dtype(before)
    return module.eval().requires_grad_(False)


def _write_shards(tensors: dict[str, Tensor], folder: Path) -> tuple[Path, ...]:
    parts: list[dict[str, Tensor]] = [{}]
    for name, tensor in tensors.items():
        if sum(held.nbytes for held in parts[-1].values()) + tensor.nbytes > SHARD_BYTES:
            parts.append({})
        parts[-1][name] = tensor
    paths = tuple(folder / f"{number:05d}.safetensors" for number in range(len(parts)))
    with ThreadPoolExecutor(WRITER_THREADS) as threads:
        list(threads.map(save_file, parts, paths))
    return paths
