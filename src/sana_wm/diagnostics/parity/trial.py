"""What both backends are given: a tiny checkpoint of random weights, a prompt, a picture's latents, a camera path."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sana_wm.backends import find_backend, load_part
from sana_wm.camera.conditioning import condition_camera
from sana_wm.camera.dialects import action_trajectory
from sana_wm.manifest.model import ModelSection, RefinerSection, Stage1Section
from sana_wm.models.engine import EngineSetup, Refiner, Stage1, Stage1Inputs
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


def run_backend(trial: Trial, name: str, device: str, dtype: str, pr_root: Path | None) -> dict[str, Tensor]:
    """Every stage that the backends differ in, each from the same inputs.

    Args:
        trial: The inputs.
        name: `diffusers` or `pr379`.
        device: Where to compute: `mps`, `cuda` or `cpu`.
        dtype: Of the networks: `float32` or `bfloat16`.
        pr_root: The checkout, for a backend that needs one.

    Returns:
        By stage, float32: one guided velocity, the latents after all steps, the refined latents.
    """
    backend = find_backend(name, "bidirectional")
    if backend is None:
        raise LookupError(f"no backend {name}")
    setup = EngineSetup(
        layout=trial.layout,
        device=device,
        dtype=dtype,
        budget_bytes=None,
        model=ModelSection(root=str(trial.layout.vae.folder.parent), pr_root=pr_root and str(pr_root)),
        stage1=Stage1Section(camera_rescale="pr379"),
        refiner=RefinerSection(mode="single_shot"),
        fps=FPS,
    )
    engine: Stage1 = load_part(backend.open_stage1)(setup)
    engine.prepare(
        Stage1Inputs(
            trial.prompt_embeds.numpy(),
            trial.prompt_attention_mask.numpy(),
            {name: tensor.numpy() for name, tensor in trial.camera.items()},
        )
    )
    velocity = engine.velocity(trial.noise.numpy(), 500.0, GUIDANCE_SCALE)
    schedule = build_schedule(STEPS, FLOW_SHIFT)
    latents = trial.noise
    for step in range(STEPS):
        step_velocity = engine.velocity(latents.numpy(), schedule.timesteps[step], GUIDANCE_SCALE)
        latents = euler_step(latents, torch.from_numpy(step_velocity), schedule, step)
    opening: AbstractContextManager[Refiner] = load_part(backend.open_refiner)(setup, ALL_BLOCKS)
    with opening as refiner:
        refined = refiner.refine(trial.noise.numpy(), trial.refiner_prompt, lambda _: None, None)
    return {
        "stage1: one guided step": torch.from_numpy(velocity),
        f"stage1: {STEPS} steps": latents,
        "refiner: single shot": torch.from_numpy(refined),
    }
