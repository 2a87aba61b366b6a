"""The refiner at full size, random weights: ours resident and streamed, diffusers' pipeline, the text phase's memory.

Ours is opened from files as a run opens it: 26 GB of random weights are written first.

Random numbers take as long as trained ones, and both engines share them: `agreement` says how far apart their
velocities are, `same_bits` whether the streamed engine ends in the resident one's bits.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_sana_wm_refiner import SanaWMRefinerKVCache
from diffusers.pipelines.sana_wm.refiner import SanaWMLTX2Refiner
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from sana_wm.bench.measure import measure, report
from sana_wm.bench.refiner_weights import build_transformer, drop_audio, text_encoder_row, write_checkpoint
from sana_wm.bench.streaming import released_refiner_row
from sana_wm.models.refiner.loading import open_refiner_engine
from sana_wm.models.refiner.refine import refine_autoregressive, refine_single_shot
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.names import RefinerMode
from sana_wm.planning.refiner import (
    GIB,
    SIGMAS,
    Refinement,
    measure_refiner,
    plan_refiner,
    refinement_tflop,
)
from sana_wm.runtime.device import (
    empty_cache,
    limit_memory,
    select_device,
)
from sana_wm.sizes import REFINER_PROMPT_TOKENS
from sana_wm.weights.layout import Component
from sana_wm.weights.stored import read_stored_weights

LATENT_HEIGHT, LATENT_WIDTH = 22, 40
TEXT_TOKENS = REFINER_PROMPT_TOKENS
# Two blocks: every kernel of the full length but the longest windows.
WARM_UP_FRAMES = 7
FPS = 16.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--variant", choices=list(CONTENTS), default=next(iter(CONTENTS)))
    parser.add_argument("--latent-frames", type=int, default=41)
    parser.add_argument("--mode", nargs="+", choices=["autoregressive", "single_shot"], default=["autoregressive"])
    parser.add_argument("--against", choices=["diffusers"], help="measure diffusers' pipeline beside ours")
    parser.add_argument("--budget-gib", type=float, nargs="+", default=[], help="streamed rows")
    parser.add_argument(
        "--weights", type=Path, required=True, help="folder on a local disk, for 26 GB of random weights"
    )
    parser.add_argument("--text", action="store_true", help="measure the streamed text phase")
    parser.add_argument("--repeats", type=int, default=3, help="measured runs after one warm-up; the median counts")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure; `args` as `add_arguments` leaves them.

    Returns:
        The file of the contract's section on benchmarks.
    """
    device = select_device(args.device)
    return report("refiner", device, CONTENTS[args.variant](args, device))


def block_content(_args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Blocks of the streaming model."""
    return {"rows": [released_refiner_row(device)]}


def clip_content(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Whole clips of the bidirectional model."""
    inputs = bench_inputs(args.latent_frames, device)
    extra: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    if args.against:
        transformer = build_transformer(device)
        rows.append(stock_row(transformer, inputs, args.repeats))
        extra["agreement"] = _agreement(transformer, inputs)
        del transformer
    component, extra["write_checkpoint_s"] = write_random_weights(args.weights / "refiner", device)
    results: dict[str, Tensor] = {}
    for mode in args.mode:
        row, results[mode] = our_row(component, mode, inputs, repeats=args.repeats)
        rows.append(row)
    for budget_gib in args.budget_gib:
        mode = args.mode[0]
        row, result = our_row(component, mode, inputs, budget_gib=budget_gib)
        rows.append({**row, "same_bits": bool(result.equal(results[mode]))})
    if args.text:
        rows.append(text_encoder_row(args.weights / "gemma3", device))
    return {"rows": rows, **extra}


#: What makes a variant's part of the report.
CONTENTS = {"bidirectional": clip_content, "streaming": block_content}


def stock_row(transformer: Any, inputs: tuple[Tensor, Tensor, Tensor], repeats: int) -> dict[str, Any]:
    """The pipeline of diffusers from latents to refined latents, its prompt encoding left out."""
    latents, prompt_embeds, mask = inputs
    pipeline: Any = SanaWMLTX2Refiner(
        transformer=transformer,
        connectors=None,  # pyright: ignore[reportArgumentType]
        tokenizer=None,  # pyright: ignore[reportArgumentType]
        text_encoder=None,  # pyright: ignore[reportArgumentType]
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
    )
    pipeline.set_progress_bar_config(disable=True)

    def encode_prompt(_prompt: str, **_options: Any) -> tuple[Tensor, Tensor]:
        return prompt_embeds, mask

    pipeline._encode_prompt = encode_prompt

    def refine(latents: Tensor) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(0)
        return pipeline(latents, "", fps=FPS, generator=generator, output_type="latent")

    row, _ = _measure("diffusers", transformer, latents, refine, repeats)
    return row


def our_row(
    component: Component,
    mode: RefinerMode,
    inputs: tuple[Tensor, Tensor, Tensor],
    *,
    budget_gib: float | None = None,
    repeats: int = 1,
) -> tuple[dict[str, Any], Tensor]:
    """The engine as a run opens it; also what it made of the latents.

    Args:
        component: The transformer's files.
        mode: How it refines.
        inputs: From `bench_inputs`.
        budget_gib: What the allocator is held to; all weights stay on the device when left out. Under a budget there is
            no warm-up: reading is what takes the time.
        repeats: Measured refinements.
    """
    device = inputs[1].device
    empty = build_transformer(torch.device("meta"))
    refinement = Refinement(tuple(inputs[0].shape), mode, text_tokens=TEXT_TOKENS)
    tensors = read_stored_weights(component).tensors
    sizes = measure_refiner(tensors, empty.config, refinement, torch.bfloat16.itemsize)
    plan = plan_refiner(sizes, sizes.resident_bytes if budget_gib is None else int(budget_gib * GIB))
    forget(device)
    if budget_gib is not None:
        limit_memory(device, int(budget_gib * GIB))
    with open_refiner_engine(
        component,
        device=device,
        dtype=torch.bfloat16,
        resident_blocks=plan.resident_blocks,
        pin_host_memory=device.type == "cuda",
    ) as engine:
        row, result = _measure(
            "sana_wm",
            engine.transformer,
            inputs[0],
            lambda latents: refine(engine, mode, (latents, *inputs[1:])),
            repeats,
            warm=budget_gib is None,
        )
    row |= {"mode": mode, "plan": plan.as_json()}
    if budget_gib is None:
        tflop = refinement_tflop(empty.config, refinement, sizes.blocks * sizes.block_parameters)
        return {**row, "tflop": tflop, "predicted_bytes": sizes.resident_bytes}, result
    read_bytes = refinement.passes * (sizes.blocks - plan.resident_blocks) * sizes.block_bytes
    return {
        **row,
        "budget_gib": budget_gib,
        "host_buffer_bytes": 2 * sizes.block_bytes,
        "passes": refinement.passes,
        "read_bytes": read_bytes,
        "read_gb_s": round(read_bytes / row["seconds"] / 1e9, 2),
    }, result


def refine(engine: RefinerEngine, mode: RefinerMode, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """One whole refinement."""
    function = refine_autoregressive if mode == "autoregressive" else refine_single_shot
    return function(engine, *inputs, fps=FPS, generator=torch.Generator("cpu").manual_seed(0))


def _measure(
    name: str,
    transformer: Any,
    latents: Tensor,
    refine: Callable[[Tensor], Tensor],
    repeats: int,
    *,
    warm: bool = True,
) -> tuple[dict[str, Any], Tensor]:
    device: torch.device = transformer.proj_in.weight.device
    weights_bytes = _weights_bytes(transformer)
    forget(device)
    results: list[Tensor] = []
    if warm:
        refine(latents[:, :, :WARM_UP_FRAMES])
    measured = measure(lambda: results.append(refine(latents)), device, warmups=0, repeats=repeats)
    if not bool(torch.isfinite(results[-1]).all()):
        raise AssertionError(f"{name} made numbers that are not finite")
    return {
        "engine": name,
        "latent_frames": latents.shape[2],
        "dtype": "bfloat16",
        "seconds": round(measured.seconds, 3),
        "all_seconds": [round(seconds, 3) for seconds in measured.all_seconds],
        "peak_bytes": measured.peak_bytes,
        "weights_bytes": weights_bytes,
    }, results[-1]


def first_velocity(engine: RefinerEngine, inputs: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Of the first block of three frames, at the highest noise level: (B, C, 3, h, w) on the engine's device."""
    latents, prompt_embeds, mask = inputs
    shape = tuple(latents.shape)
    engine.set_prompt(prompt_embeds, mask)
    window = engine.new_window(shape, 1, 0, 3)
    sink_table, table = engine.rotary_table(range(1), shape, FPS), engine.rotary_table(range(1, 4), shape, FPS)
    engine.capture_sink(latents[:, :, :1], sink_table, window)
    return engine.predict_velocity(latents[:, :, 1:4], SIGMAS[0], table, sink_table, window)


def _agreement(transformer: Any, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    """Relative distance of our velocity for one block from the stock transformer's, both in bfloat16."""
    latents, prompt_embeds, mask = inputs
    device = prompt_embeds.device
    ours = first_velocity(RefinerEngine(transformer), inputs)

    cache = SanaWMRefinerKVCache(len(transformer.transformer_blocks))

    def stock(frames: Tensor, positions: range, sigma: float, kv_cache_mode: str) -> Tensor:
        tokens = frames.to(device, torch.bfloat16).flatten(2).transpose(1, 2)
        rope = transformer.build_rotary_emb_for_absolute_positions(
            1, list(positions), LATENT_HEIGHT, LATENT_WIDTH, device, FPS
        )
        timestep = torch.full(tokens.shape[:2], 1000 * sigma, device=device)
        if kv_cache_mode == "capture_pre_rope":
            cache.sink_pe = rope
        return transformer(
            tokens,
            prompt_embeds,
            timestep,
            rope,
            encoder_attention_mask=mask,
            kv_cache=cache,
            kv_cache_mode=kv_cache_mode,
            return_dict=False,
        )[0]

    with torch.no_grad():
        stock(latents[:, :, :1], range(1), 0.0, "capture_pre_rope")
        for layer in cache.layer_caches:
            layer.store_sink(*layer.get_captured_pre_rope())
        theirs = stock(latents[:, :, 1:4], range(1, 4), SIGMAS[0], "inject").float()
    ours = ours.flatten(2).transpose(1, 2)
    return round(float((ours - theirs).norm() / theirs.norm()), 5)


def bench_inputs(latent_frames: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Latents on the CPU in numbers that bfloat16 holds, prompt_embeds on the device, and their mask."""
    generator = torch.Generator("cpu").manual_seed(0)
    latents = torch.randn(1, 128, latent_frames, LATENT_HEIGHT, LATENT_WIDTH, generator=generator).bfloat16().float()
    prompt_embeds = torch.randn(1, TEXT_TOKENS, 3840, generator=generator).to(device, torch.bfloat16)
    return latents, prompt_embeds, torch.ones(1, TEXT_TOKENS, dtype=torch.int64, device=device)


def write_random_weights(folder: Path, device: torch.device) -> tuple[Component, float]:
    """The video half on disk, and the seconds that writing took."""
    transformer = build_transformer(device)
    drop_audio(transformer)
    started = time.perf_counter()
    component = write_checkpoint(transformer, folder)
    return component, round(time.perf_counter() - started, 1)


def _weights_bytes(transformer: nn.Module) -> int:
    return sum(weight.nbytes for weight in transformer.parameters() if not weight.is_meta)


def forget(device: torch.device) -> None:
    """Give back what nothing refers to."""
    gc.collect()
    empty_cache(device)
