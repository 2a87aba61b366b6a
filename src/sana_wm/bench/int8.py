"""8-bit weights beside stored ones at full size, random weights: memory, time, and how far results move.

Distances are relative L2. Beside each stands what bfloat16 itself costs: the distance of the stored weights' result in
bfloat16 from theirs in float32. Random weights are spread evenly, so a group's largest value is near its others: what
real ones lose is measured by a gate on the user's machine, not here.
"""

from __future__ import annotations

import argparse
import re
import shutil
import time
from collections import defaultdict
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sana_wm.bench.measure import report
from sana_wm.bench.refiner import bench_inputs, first_velocity, forget, our_row, write_random_weights
from sana_wm.bench.refiner_weights import write_gemma3
from sana_wm.models.int8 import Int8Linear
from sana_wm.models.refiner.loading import open_refiner_engine, stream_gemma3
from sana_wm.models.refiner.text import encode_levels
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.runtime.device import device_memory, reset_peak, select_device
from sana_wm.sizes import REFINER_PROMPT_TOKENS
from sana_wm.weights.int8 import int8_folder
from sana_wm.weights.layout import Component
from sana_wm.weights.quantizing import quantize_component
from sana_wm.weights.stored import read_stored_weights

LATENT_FRAMES = 41


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--part", choices=["transformer", "text"], default="transformer")
    parser.add_argument("--weights", type=Path, required=True, help="folder on a local disk, for 40 GB")
    parser.add_argument("--budget-gib", type=float, nargs="+", default=[10.0], help="streamed rows")
    parser.add_argument("--layers", type=int, default=48, help="of the text encoder")
    parser.add_argument("--repeats", type=int, default=3, help="measured runs after one warm-up; the median counts")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; `args` as `add_arguments` leaves them.

    Returns:
        The file of the contract's section on benchmarks.
    """
    device = select_device(args.device)
    content = transformer_content(args, device) if args.part == "transformer" else text_content(args, device)
    return report("int8", device, content)


def transformer_content(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """The transformer: whole clips with either weights, one velocity, and each layer by itself."""
    stored, write_s = write_random_weights(args.weights / "transformer", device)
    packed, quantize_s = _quantized(stored)
    inputs = bench_inputs(LATENT_FRAMES, device)
    distances = _velocity_distances(stored, packed, inputs, device)
    layers = _layer_distances(stored, packed, inputs, device)
    rows: list[dict[str, Any]] = []
    resident: dict[str, Tensor] = {}
    for weights, component in (("as_stored", stored), ("int8", packed)):
        row, resident[weights] = our_row(component, "autoregressive", inputs, repeats=args.repeats)
        rows.append({**row, "weights": weights})
    for budget_gib in args.budget_gib:
        row, result = our_row(packed, "autoregressive", inputs, budget_gib=budget_gib)
        rows.append({**row, "weights": "int8", "same_bits": bool(result.equal(resident["int8"]))})
    clip = relative(resident["int8"], resident["as_stored"])
    return {
        "rows": rows,
        "velocity": distances,
        "whole_clip_int8_from_as_stored": clip,
        "layers": layers,
        "file_bytes": _file_bytes(stored, packed),
        "write_checkpoint_s": write_s,
        "quantize_s": quantize_s,
    }


def text_content(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """The text encoder: what it packs, with either weights, one layer on the device at a time."""
    stored = write_gemma3(args.weights / "text_encoder", device, args.layers)
    packed, quantize_s = _quantized(stored)
    input_ids = torch.randint(0, 1000, (1, REFINER_PROMPT_TOKENS), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(input_ids)
    mask[:, : REFINER_PROMPT_TOKENS // 2] = 0
    results: dict[str, Tensor] = {}
    rows: list[dict[str, Any]] = []
    for name, component, dtype in (
        ("as_stored, float32", stored, torch.float32),
        ("as_stored", stored, torch.bfloat16),
        ("int8", packed, torch.bfloat16),
    ):
        forget(device)
        reset_peak(device)
        started = time.perf_counter()
        with stream_gemma3(component, device=device, dtype=dtype) as text_encoder:
            results[name] = encode_levels(text_encoder, input_ids, mask, device)
        row = {"weights": name, "seconds": round(time.perf_counter() - started, 2)}
        rows.append({**row, "peak_bytes": device_memory(device).peak_bytes})
    exact = results["as_stored, float32"]
    return {
        "rows": rows,
        "packed_states": {
            "as_stored_bfloat16_from_float32": relative(results["as_stored"], exact),
            "int8_bfloat16_from_float32": relative(results["int8"], exact),
            "int8_from_as_stored": relative(results["int8"], results["as_stored"]),
        },
        "file_bytes": _file_bytes(stored, packed),
        "quantize_s": quantize_s,
    }


def relative(result: Tensor, reference: Tensor) -> float:
    """Relative L2 distance."""
    exact = reference.float()
    return round(float((result.float().to(exact.device) - exact).norm() / exact.norm()), 6)


def _quantized(stored: Component) -> tuple[Component, float]:
    shutil.rmtree(int8_folder(stored), ignore_errors=True)
    started = time.perf_counter()
    packed = quantize_component(stored, lambda _line: None)
    return packed, round(time.perf_counter() - started, 1)


def _file_bytes(stored: Component, packed: Component) -> dict[str, int]:
    return {name: read_stored_weights(one).stored_bytes for name, one in (("as_stored", stored), ("int8", packed))}


def _opened(
    component: Component, device: torch.device, dtype: torch.dtype = torch.bfloat16
) -> AbstractContextManager[RefinerEngine]:
    return open_refiner_engine(component, device=device, dtype=dtype, resident_blocks=10**6)


def _velocity_distances(
    stored: Component, packed: Component, inputs: tuple[Tensor, Tensor, Tensor], device: torch.device
) -> dict[str, float]:
    found: dict[str, Tensor] = {}
    for name, component, dtype in (
        ("exact", stored, torch.float32),
        ("as_stored", stored, torch.bfloat16),
        ("int8", packed, torch.bfloat16),
        ("int8_float32", packed, torch.float32),
    ):
        with _opened(component, device, dtype) as engine:
            found[name] = first_velocity(engine, inputs).cpu()
        del engine
        forget(device)
    return {
        "as_stored_bfloat16_from_float32": relative(found["as_stored"], found["exact"]),
        "int8_bfloat16_from_float32": relative(found["int8"], found["exact"]),
        "int8_float32_from_float32": relative(found["int8_float32"], found["exact"]),
        "int8_from_as_stored_bfloat16": relative(found["int8"], found["as_stored"]),
    }


def _layer_distances(
    stored: Component, packed: Component, inputs: tuple[Tensor, Tensor, Tensor], device: torch.device
) -> dict[str, dict[str, float]]:
    """By kind of layer over all blocks: what bytes alone change in its output on what it is given in a pass."""
    found: dict[str, list[float]] = defaultdict(list)
    with _opened(packed, device) as by_bytes, _opened(stored, device) as dense:
        layers = dict(by_bytes.transformer.named_modules())

        def compare(name: str) -> Any:
            def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
                found[re.sub(r"\d+", "N", name, count=1)].append(relative(layers[name](args[0]), output))

            return hook

        for name, layer in dense.transformer.named_modules():
            if isinstance(layers.get(name), Int8Linear) and not layers[name].weight.is_meta:
                layer.register_forward_hook(compare(name))
        first_velocity(dense, inputs)
    forget(device)
    return {kind: {"mean": round(sum(values) / len(values), 6), "worst": max(values)} for kind, values in found.items()}
