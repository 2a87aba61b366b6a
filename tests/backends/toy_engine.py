"""A whole engine: its velocity points from the latents to zero, and its refinement is half of what it is given."""

from contextlib import contextmanager

import numpy as np
import torch

from sana_wm.backends import Backend
from sana_wm.models.refiner.state import RefinerState
from sana_wm.planning.phase import PhaseForecast

TOY = Backend(
    name="toy",
    variant="bidirectional",
    open_stage1="toy_engine:ToyStage1",
    open_refiner="toy_engine:open_refiner",
    plan_stage1="toy_engine:plan_stage1",
    plan_refiner="toy_engine:plan_refiner",
    layouts=("original",),
    refiner_modes=("single_shot",),
    packages=("numpy",),
    can_end_guidance=False,
)


class ToyStage1:
    weights_bytes = 0

    def __init__(self, setup):
        pass

    def prepare(self, inputs):
        return {"engine": "toy", "prompts": len(inputs.prompt_embeds)}

    def velocity(self, latents, timestep, guidance_scale):
        return latents.astype(np.float32)

    def shrink(self):
        return False


class ToyRefiner:
    def refine(self, latents, prompt, on_state, resume_from):
        refined = latents.copy()
        refined[:, :, 1:] *= 0.5
        on_state(RefinerState(torch.from_numpy(refined), 1, torch.zeros(1, dtype=torch.uint8)))
        return refined


@contextmanager
def open_refiner(setup, resident_blocks):
    yield ToyRefiner()


def plan_stage1(run):
    return lambda budget: PhaseForecast("stage1", "transformer", "toy", 0, 0, 0, 0, 0, 0.0, {})


def plan_refiner(run):
    return lambda budget: PhaseForecast("refiner", "transformer", "toy", 0, 0, 0, 0, 0, 0.0, {"resident_blocks": 0})
