"""Benchmark of one Stage 1 step with guidance: full size, random weights, ours and stock diffusers in one process."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sana_wm.bench.ceilings import Ceilings, measure_ceilings
from sana_wm.bench.measure import Measurement, measure, report
from sana_wm.bench.random_stage1 import MID_SIZE, Stage1Inputs, build_inputs, build_transformer
from sana_wm.bench.streaming import stage1_row
from sana_wm.models.stage1.engine import Stage1Engine
from sana_wm.planning.stage1 import step_tflop
from sana_wm.runtime.device import device_memory, empty_cache, select_device, select_dtype
from sana_wm.sizes import GIB

TIMESTEP, GUIDANCE_SCALE = 700.0, 5.0
FULL_GRID, MID_GRID = (22, 40), (12, 20)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this benchmark."""
    parser.add_argument("--variant", choices=list(ROWS), default=next(iter(ROWS)))
    parser.add_argument("--latent-frames", type=int, nargs="+", default=[41])
    parser.add_argument("--budget-gib", type=float, help="working-set budget of our engine, without the weights")
    parser.add_argument("--against", choices=["diffusers"], help="measure the stock transformer in the same run")
    parser.add_argument("--fidelity", action="store_true", help="compare bfloat16 errors against a float32 run")
    parser.add_argument("--size", choices=["full", "mid"], default="full")
    parser.add_argument("--dtype", default="auto", help="auto, bfloat16 or float32")
    parser.add_argument("--camera-rescale", choices=["pr379", "diffusers", "none"], default="pr379")
    parser.add_argument("--repeats", type=int, default=3)


def run(args: argparse.Namespace) -> dict[str, object]:
    """Run the benchmark and return its report."""
    device = select_device(args.device)
    dtype = select_dtype(args.dtype, device)
    ceilings = measure_ceilings(device, dtype)
    config, plane = (MID_SIZE, MID_GRID) if args.size == "mid" else ({}, FULL_GRID)
    transformer = build_transformer(config, device, dtype)
    rows = ROWS[args.variant](args, transformer, ceilings, plane)
    content: dict[str, object] = {"ceilings": ceilings.as_json(), "rows": rows}
    if args.fidelity:
        del transformer
        empty_cache(device)
        content["fidelity"] = measure_fidelity(config, (args.latent_frames[0], *plane), device)
    return report("stage1", device, content)


def step_rows(
    args: argparse.Namespace, transformer: SanaWMTransformer3DModel, ceilings: Ceilings, plane: tuple[int, int]
) -> list[dict[str, object]]:
    """Steps of the bidirectional model, stock diffusers' before ours."""
    rows: list[dict[str, object]] = []
    for frames in args.latent_frames:
        inputs = build_inputs(transformer, (frames, *plane))
        if args.against:
            rows.append(measure_stock(transformer, inputs, ceilings, args.repeats))
        rows.append(measure_engine(transformer, inputs, ceilings, args.repeats, args.budget_gib, args.camera_rescale))
    return rows


def chunk_rows(
    args: argparse.Namespace, transformer: SanaWMTransformer3DModel, ceilings: Ceilings, plane: tuple[int, int]
) -> list[dict[str, object]]:
    """Chunks of the streaming model."""
    return [
        stage1_row(transformer, (frames, *plane), ceilings, budget_gib=args.budget_gib, repeats=args.repeats)
        for frames in args.latent_frames
    ]


#: What makes a variant's rows.
ROWS = {"bidirectional": step_rows, "streaming": chunk_rows}


def measure_engine(
    transformer: SanaWMTransformer3DModel,
    inputs: Stage1Inputs,
    ceilings: Ceilings,
    repeats: int,
    budget_gib: float | None,
    camera_rescale: Any,
) -> dict[str, object]:
    """One step of ours: seconds, peak, plan."""
    budget = None if budget_gib is None else int(budget_gib * GIB)
    engine = Stage1Engine(transformer, camera_rescale=camera_rescale, working_set_bytes=budget)
    conditioning = engine.prepare(inputs.prompt_embeds, inputs.prompt_attention_mask, inputs.camera)
    device = next(transformer.parameters()).device
    latents = inputs.latents.to(device)
    measurement = measure(
        lambda: engine.velocity(latents, TIMESTEP, conditioning, GUIDANCE_SCALE), device, repeats=repeats
    )
    row = _row("sana_wm", transformer, inputs, ceilings, measurement)
    return row | {"camera_rescale": camera_rescale, "plan": conditioning.plan.as_json()}


def measure_stock(
    transformer: SanaWMTransformer3DModel, inputs: Stage1Inputs, ceilings: Ceilings, repeats: int
) -> dict[str, object]:
    """One step of stock diffusers, called as its pipeline calls it: guidance as a batch of 2, camera each step."""
    step = stock_step(transformer, inputs, precomputed_camera=False)
    measurement = measure(step, next(transformer.parameters()).device, repeats=repeats)
    return _row("diffusers", transformer, inputs, ceilings, measurement) | {"notes": "batch of 2, camera_rescale both"}


def stock_step(
    transformer: SanaWMTransformer3DModel, inputs: Stage1Inputs, *, precomputed_camera: bool
) -> Callable[[], Tensor]:
    """A call of the stock transformer that returns both velocities (2, C, T, h, w).

    Args:
        transformer: The network.
        inputs: Of the step.
        precomputed_camera: Hand over float32 camera matrices, rounded to the model's dtype, instead of letting the
            network make them in that dtype. It is the more exact of the two.
    """
    parameter = next(transformer.parameters())
    options: dict[str, Any] = {"device": parameter.device, "dtype": parameter.dtype}
    frames = inputs.latents.shape[2]
    timestep = torch.full((2, 1, frames), TIMESTEP, device=parameter.device)
    timestep[:, :, 0] = 0
    arguments: dict[str, Any] = {
        "hidden_states": inputs.latents.repeat(2, 1, 1, 1, 1).to(**options),
        "timestep": timestep,
        "encoder_hidden_states": inputs.prompt_embeds.to(**options),
        "encoder_attention_mask": inputs.prompt_attention_mask.to(parameter.device),
        "camera_conditions": inputs.camera["raymap"].repeat(2, 1, 1).to(**options),
        "chunk_plucker": inputs.camera["chunk_plucker"].repeat(2, 1, 1, 1, 1).to(**options),
    }

    @torch.no_grad()
    def step() -> Tensor:
        camera: dict[str, Any] = {}
        if precomputed_camera:
            matrices = {name: inputs.camera[name].to(**options) for name in ("P", "P_inv")}
            # The network embeds this map and never reads the result.
            unused = torch.zeros((2, 3, *inputs.latents.shape[2:]), **options)
            camera["cam_pos_embeds"] = matrices | {"absmap": unused}
        return transformer(**arguments, **camera, return_dict=False)[0]

    return step


def measure_fidelity(config: dict[str, Any], grid: tuple[int, int, int], device: torch.device) -> dict[str, object]:
    """Relative L2 error of bfloat16 velocities against the stock network in float32, ours and stock's.

    Both start from the same bfloat16 weights and get the same float32 camera; rescale as in diffusers.
    """
    transformer = build_transformer(config, device, torch.bfloat16)
    inputs = build_inputs(transformer, grid)
    stock = stock_step(transformer, inputs, precomputed_camera=True)().float()
    engine = Stage1Engine(transformer, camera_rescale="diffusers")
    conditioning = engine.prepare(inputs.prompt_embeds, inputs.prompt_attention_mask, inputs.camera)
    frame_timesteps = torch.full((grid[0],), TIMESTEP)
    frame_timesteps[0] = 0
    ours = engine.predict(inputs.latents.to(device), frame_timesteps, conditioning, (0, 1))
    del engine, conditioning
    transformer = transformer.float()
    with ExactSoftmax():
        exact = stock_step(transformer, inputs, precomputed_camera=True)()

    def error(velocity: Tensor) -> float:
        return float((velocity - exact).norm() / exact.norm())

    return {
        "latent_frames": grid[0],
        "diffusers_error": error(stock),
        "sana_wm_error": error(ours),
        "ratio": error(ours) / error(stock),
    }


class ExactSoftmax(TorchFunctionMode):
    """Stock softmax attention rounds float32 to bfloat16; within this mode it does not. For reference runs only."""

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Leave out the rounding, and nothing else."""
        if func is torch.Tensor.bfloat16:
            return args[0]
        return func(*args, **(kwargs or {}))


def _row(
    engine: str,
    transformer: SanaWMTransformer3DModel,
    inputs: Stage1Inputs,
    ceilings: Ceilings,
    measurement: Measurement,
) -> dict[str, object]:
    parameters = list(transformer.parameters())
    grid = (int(inputs.latents.shape[2]), int(inputs.latents.shape[3]), int(inputs.latents.shape[4]))
    tflop = step_tflop(transformer.config, grid, passes=2)
    tflops = tflop / measurement.seconds
    return {
        "engine": engine,
        "latent_frames": inputs.latents.shape[2],
        "dtype": str(parameters[0].dtype).removeprefix("torch."),
        "seconds": measurement.seconds,
        "all_seconds": measurement.all_seconds,
        "tflop": tflop,
        "tflops": tflops,
        "fraction_of_matmul_ceiling": tflops / ceilings.matmul_tflops,
        "peak_bytes": measurement.peak_bytes,
        "weights_bytes": sum(p.numel() * p.element_size() for p in parameters),
        "allocated_after_bytes": device_memory(parameters[0].device).current_bytes,
        "notes": "",
    }
