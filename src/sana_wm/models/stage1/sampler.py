"""The flow-matching Euler schedule and its step; the first latent frame is the clean condition and never moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """Noise levels of a run.

    Attributes:
        sigmas: One more than there are steps; the last is 0.
        timesteps: Of each step, 1000 times its sigma.
    """

    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]

    @property
    def num_inference_steps(self) -> int:
        """How many steps there are."""
        return len(self.timesteps)


def build_schedule(num_inference_steps: int, flow_shift: float) -> Schedule:
    """The schedule of a run. The shift acts twice, on the end point and on every level, as upstream has it.

    Source: diffusers `FlowMatchEulerDiscreteScheduler`; PR #379 `LTXFlowEuler`.
    """
    scheduler = FlowMatchEulerDiscreteScheduler(shift=flow_shift)
    scheduler.set_timesteps(num_inference_steps)
    sigmas, timesteps = cast(Tensor, scheduler.sigmas), cast(Tensor, scheduler.timesteps)
    return Schedule(tuple(sigmas.tolist()), tuple(timesteps.tolist()))


def euler_step(latents: Tensor, velocity: Tensor, schedule: Schedule, step: int) -> Tensor:
    """Latents after a step.

    Args:
        latents: (1, C, T, h, w) float32.
        velocity: The same shape.
        schedule: Of the run.
        step: Which step, from 0.

    Returns:
        New latents, float32; those given stay as they are.
    """
    following = latents.clone()
    following[:, :, 1:] += (schedule.sigmas[step + 1] - schedule.sigmas[step]) * velocity[:, :, 1:].float()
    return following
