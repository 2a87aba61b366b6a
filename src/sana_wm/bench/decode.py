"""The VAE decode at full size, random weights: ours at several memory budgets, and diffusers' three ways."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video

from sana_wm.bench.ceilings import measure_ceilings
from sana_wm.bench.measure import measure, report
from sana_wm.bench.streaming import decode_row
from sana_wm.models.vae.streaming_decoder import StreamingDecoder
from sana_wm.planning.decode import FASTEST, Implementation, decode_tflop, plan_decode
from sana_wm.runtime.device import empty_cache, select_device, synchronize
from sana_wm.sizes import GIB

LATENT_HEIGHT, LATENT_WIDTH = 22, 40

# What the released config.json says where the class defaults say otherwise, and an encoder too small to matter.
CONFIG: dict[str, Any] = {
    "decoder_causal": False,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
    "block_out_channels": (8, 8, 8, 8),
    "layers_per_block": (1, 1, 1, 1, 1),
}

# Name of the stock row: whether it tiles time (96 frames every 64, as NVIDIA's script) and whether it tiles space.
STOCK = {
    "framewise 96/64 + spatial 512/448": (True, True),
    "spatial 512/448": (False, True),
    "untiled": (False, False),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--variant", choices=list(VARIANTS), default=next(iter(VARIANTS)))
    parser.add_argument("--latent-frames", type=int, nargs="+", default=[41], help="lengths to decode")
    parser.add_argument("--budget-gib", type=float, nargs="+", default=[2.6], help="one row each; weights included")
    parser.add_argument("--against", choices=["diffusers"], help="measure diffusers' decode beside ours")
    parser.add_argument("--implementation", choices=sorted(set(FASTEST.values())), help="default: by device")
    parser.add_argument("--repeats", type=int, default=3, help="measured passes after one warm-up; the median counts")


def run(args: argparse.Namespace) -> dict[str, object]:
    """Run the benchmark and return its report."""
    device = select_device(args.device)
    ceilings = measure_ceilings(device, torch.bfloat16)
    variant = VARIANTS[args.variant]
    vae = build_vae(device, causal=variant.causal)
    rows: list[dict[str, Any]] = []
    if args.against:  # before ours, which rearranges the memory of the weights
        rows += [stock_row(vae, frames, name, args.repeats) for frames in args.latent_frames for name in STOCK]
    implementation = args.implementation or FASTEST[device.type]
    rows += [
        variant.row(vae, frames, budget_gib, implementation, args.repeats)
        for frames in args.latent_frames
        for budget_gib in args.budget_gib
    ]
    return report("decode", device, {"ceilings": ceilings.as_json(), "rows": rows})


def build_vae(device: torch.device, dtype: torch.dtype = torch.bfloat16, *, causal: bool = False) -> Any:
    """The released decoder with random weights, made on the device."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            vae = AutoencoderKLLTX2Video(**CONFIG | dict[str, Any](decoder_causal=causal))
    finally:
        torch.set_default_dtype(before)
    return vae.eval().requires_grad_(False)


def streaming_row(
    vae: Any, latent_frames: int, budget_gib: float, implementation: Implementation, repeats: int
) -> dict[str, Any]:
    """Our decode under a memory budget: seconds from latents to 8-bit frames on the device."""
    budget_bytes = int(budget_gib * GIB)
    size = (LATENT_HEIGHT, LATENT_WIDTH)
    plan = plan_decode(vae.config, *size, vae.dtype.itemsize, budget_bytes, implementation=implementation)
    decoder = StreamingDecoder(vae, plan)
    latents = _latents(latent_frames, vae.device)
    first_frame_s: list[float] = []

    def decode() -> None:
        started, count = time.perf_counter(), 0
        for frames in decoder.decode([latents]):
            if not count:
                synchronize(vae.device)
                first_frame_s.append(time.perf_counter() - started)
            count += len(frames)
        if count != 8 * latent_frames - 7:
            raise AssertionError(f"{count} frames from {latent_frames} latent frames")

    row = _row("sana_wm", vae, latent_frames, decode, repeats)
    return {
        **row,
        "tflop": decode_tflop(vae.config, (1, *latents.transpose(0, 1).shape)),
        "plan": plan.as_json(),
        "budget_gib": budget_gib,
        "first_frame_s": round(min(first_frame_s), 3),
    }


def chunk_row(
    vae: Any, latent_frames: int, budget_gib: float, implementation: Implementation, _repeats: int
) -> dict[str, Any]:
    """Our causal decode chunk by chunk, under a memory budget."""
    plane = (LATENT_HEIGHT, LATENT_WIDTH)
    budget_bytes = int(budget_gib * GIB)
    plan = plan_decode(vae.config, *plane, vae.dtype.itemsize, budget_bytes, implementation=implementation)
    return {**decode_row(vae, plan, latent_frames, plane), "budget_gib": budget_gib}


class Variant(NamedTuple):
    """What the bench of a variant decodes with."""

    causal: bool
    row: Callable[[Any, int, float, Implementation, int], dict[str, Any]]


VARIANTS = {"bidirectional": Variant(causal=False, row=streaming_row), "streaming": Variant(causal=True, row=chunk_row)}


def stock_row(vae: Any, latent_frames: int, name: str, repeats: int) -> dict[str, Any]:
    """Stock decode: seconds from latents to samples on the device; a failure is a row too."""
    vae.use_framewise_decoding, vae.use_tiling = STOCK[name]
    vae.tile_sample_min_num_frames, vae.tile_sample_stride_num_frames = 96, 64
    latents = _latents(latent_frames, vae.device).to(vae.dtype).transpose(0, 1)[None]

    @torch.inference_mode()
    def decode() -> None:
        vae.decode(latents, return_dict=False)

    try:
        return {**_row("diffusers", vae, latent_frames, decode, repeats), "notes": name}
    except RuntimeError as error:  # out of memory, or more elements than the kernels can index
        failure = str(error).splitlines()[0]
    empty_cache(vae.device)
    row: dict[str, Any] = {"engine": "diffusers", "latent_frames": latent_frames, "seconds": None}
    return row | {"notes": f"{name}: fails: {failure}"}


def _row(engine: str, vae: Any, latent_frames: int, decode: Callable[[], None], repeats: int) -> dict[str, Any]:
    measurement = measure(decode, vae.device, repeats=repeats)
    return {
        "engine": engine,
        "latent_frames": latent_frames,
        "dtype": str(vae.dtype).removeprefix("torch."),
        "seconds": measurement.seconds,
        "all_seconds": measurement.all_seconds,
        "peak_bytes": measurement.peak_bytes,
        "weights_bytes": sum(weight.numel() * weight.element_size() for weight in vae.decoder.parameters()),
    }


def _latents(frames: int, device: torch.device) -> torch.Tensor:
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.randn(frames, 128, LATENT_HEIGHT, LATENT_WIDTH, generator=generator).to(device)
