"""What both backends are given: a tiny checkpoint of random weights, a prompt, a picture's latents, a camera path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sana_wm.camera.conditioning import condition_camera
from sana_wm.camera.dialects import action_trajectory
from sana_wm.models.loading import load_stage1_transformer
from sana_wm.models.pr379.refiner import open_upstream_refiner
from sana_wm.models.pr379.stage1 import UpstreamStage1, load_upstream_stage1
from sana_wm.models.refiner.loading import open_refiner_engine
from sana_wm.models.refiner.refine import refine_single_shot
from sana_wm.models.stage1.engine import Stage1Engine
from sana_wm.models.stage1.sampler import build_schedule, euler_step
from sana_wm.sizes import FRAMES_PER_LATENT, LATENT_CHANNELS, PIXELS_PER_LATENT
from sana_wm.weights.layout import WeightLayout
from sana_wm.weights.tiny import write_tiny_checkpoint
from sana_wm.weights.tiny_models import GEMMA2_WIDTH, GEMMA3_WIDTH

NUM_FRAMES, HEIGHT, WIDTH, FPS = 33, 96, 160, 16
STEPS, GUIDANCE_SCALE, FLOW_SHIFT = 4, 5.0, 9.8
ALL_BLOCKS = 99


@dataclass(frozen=True)
class Trial:
    """One set of inputs, all on the CPU.

    Attributes:
        layout: The tiny checkpoint, in the original layout.
        noise: (1, 128, F, h, w), a picture's latents in frame 0.
        prompt_embeds: (2, 1, L, D), negative prompt first; mask (2, L) with padding at the end.
        prompt_attention_mask: See prompt_embeds.
        refiner_prompt: (1, L, D) embeddings and (1, L) mask, as the connectors give them.
        camera: What `condition_camera` makes of a path forwards with a turn.
    """

    layout: WeightLayout
    noise: Tensor
    prompt_embeds: Tensor
    prompt_attention_mask: Tensor
    refiner_prompt: tuple[Tensor, Tensor]
    camera: dict[str, Tensor]


def build_trial(folder: Path) -> Trial:
    """Write the checkpoint to a folder and draw the inputs; the same every time."""
    checkpoint = write_tiny_checkpoint(folder, "original")
    generator = torch.Generator("cpu").manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    mask = torch.ones(2, 24, dtype=torch.int64)
    mask[0, 3:] = 0
    mask[1, 20:] = 0
    trajectory = action_trajectory("w-20,jw-12", dialect="pr379", translation_speed=0.05, rotation_speed_deg=1.2)
    intrinsics = np.tile(np.array([140.0, 140.0, 80.0, 48.0], dtype=np.float32), (NUM_FRAMES, 1))
    camera = condition_camera(trajectory.c2w[:NUM_FRAMES], intrinsics, height=HEIGHT, width=WIDTH)
    names = ("raymap", "chunk_plucker", "P", "P_inv")
    latent_frames = (NUM_FRAMES - 1) // FRAMES_PER_LATENT + 1
    return Trial(
        layout=checkpoint.layout(),
        noise=draw(1, LATENT_CHANNELS, latent_frames, HEIGHT // PIXELS_PER_LATENT, WIDTH // PIXELS_PER_LATENT),
        prompt_embeds=draw(2, 1, 24, GEMMA2_WIDTH),
        prompt_attention_mask=mask,
        refiner_prompt=(draw(1, 128, GEMMA3_WIDTH), torch.ones(1, 128, dtype=torch.int64)),
        camera={name: torch.from_numpy(getattr(camera, name)) for name in names},
    )


def run_backend(
    trial: Trial, backend: str, device: torch.device, dtype: torch.dtype, commit: str = ""
) -> dict[str, Tensor]:
    """Every stage that the backends differ in, each from the same inputs.

    Args:
        trial: The inputs.
        backend: `diffusers` or `pr379`; for the latter the checkout must be open.
        device: Where to compute.
        dtype: Of the networks.
        commit: The checkout's, for the plan.

    Returns:
        By stage, float32 on the CPU: one guided velocity, the latents after all steps, the refined latents.
    """
    engine: Any
    if backend == "pr379":
        engine = UpstreamStage1(load_upstream_stage1(trial.layout.transformer, device, dtype), commit)
    else:
        transformer = load_stage1_transformer(trial.layout, device, dtype)
        engine = Stage1Engine(transformer, camera_rescale="pr379", attention_dtype=dtype)
    prepared = engine.prepare(trial.prompt_embeds, trial.prompt_attention_mask, trial.camera)
    latents = trial.noise.to(device)
    velocity = engine.velocity(latents, 500.0, prepared, GUIDANCE_SCALE)
    schedule = build_schedule(STEPS, FLOW_SHIFT)
    for step in range(STEPS):
        step_velocity = engine.velocity(latents, schedule.timesteps[step], prepared, GUIDANCE_SCALE)
        latents = euler_step(latents, step_velocity, schedule, step)
    return {
        "stage1: one guided step": velocity.float().cpu(),
        f"stage1: {STEPS} steps": latents.float().cpu(),
        "refiner: single shot": _refine(trial, backend, device, dtype),
    }


def _refine(trial: Trial, backend: str, device: torch.device, dtype: torch.dtype) -> Tensor:
    open_engine: Any = open_upstream_refiner if backend == "pr379" else open_refiner_engine
    component = trial.layout.refiner_transformer
    with open_engine(component, device=device, dtype=dtype, resident_blocks=ALL_BLOCKS) as engine:
        generator = torch.Generator("cpu").manual_seed(42)
        return refine_single_shot(engine, trial.noise, *trial.refiner_prompt, fps=FPS, generator=generator).float()
