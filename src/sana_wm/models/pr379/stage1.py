"""Stage 1 by upstream's `SanaMSVideoCamCtrl`, with the interface of our engine.

The sampler's update is ours, which equals upstream's `LTXFlowEuler` but keeps the latents in float32 between steps;
that is also what lets a run stop after any step and go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sana_wm.errors import WeightsError
from sana_wm.models.engine import EngineSetup
from sana_wm.models.loading import build_empty, load_weights
from sana_wm.models.pr379.checkout import checkout_root, open_checkout, upstream
from sana_wm.models.torch_stage1 import TorchStage1
from sana_wm.runtime.device import dtype_named
from sana_wm.weights.component_config import read_config
from sana_wm.weights.layout import Component, KeyRules

#: diffusers' name of a size, by upstream's.
SIZES = {
    "depth": "num_layers",
    "hidden_size": "hidden_size",
    "num_heads": "num_attention_heads",
    "in_channels": "in_channels",
    "caption_channels": "caption_channels",
    "linear_head_dim": "linear_head_dim",
    "softmax_every_n": "softmax_every_n",
    "chunk_plucker_channels": "chunk_plucker_channels",
    "chunk_plucker_post_attn_blocks": "chunk_plucker_post_attn_blocks",
}
# Upstream's own names; its loader drops an outer `model.` as well.
RULES = KeyRules(strip=("model.",))


@dataclass(frozen=True)
class UpstreamPlan:
    """How a step is computed.

    Attributes:
        commit: The checkout's.
        guidance_passes: Forward passes of a step, one prompt each: upstream's batch of two, at half its memory.
    """

    commit: str
    guidance_passes: int
    backend: str = "pr379"

    def as_json(self) -> dict[str, Any]:
        """Everything by name, for the receipt."""
        return asdict(self)


@dataclass(frozen=True)
class UpstreamConditioning:
    """What does not change between steps, on the network's device.

    Attributes:
        prompt_embeds: (prompts, 1, L, D), negative prompt first.
        prompt_attention_mask: (prompts, L).
        raymap: (1, T, 20) float32: upstream makes the rays' geometry of it, on the CPU.
        chunk_plucker: (1, 48, T, h, w).
        plan: How a step is computed.
    """

    prompt_embeds: Tensor
    prompt_attention_mask: Tensor
    raymap: Tensor
    chunk_plucker: Tensor
    plan: UpstreamPlan


def load_upstream_stage1(component: Component, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Upstream's network from the original Stage 1 file.

    Raises:
        WeightsError: The file is missing, damaged or of another network.
    """
    config = read_config(component)
    sizes = {ours: config[theirs] for ours, theirs in SIZES.items() if theirs in config}
    package = upstream("sana_wm_mps.model")
    try:
        network: nn.Module = build_empty(lambda: package.build_transformer(**sizes))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"upstream's network cannot have the sizes of {component.shards[0]}", got=error) from error
    load_weights(network, component.shards, device=device, dtype=dtype, rename=RULES)
    return network


def open_stage1(setup: EngineSetup) -> TorchStage1:
    """Upstream's network from the checkout that the manifest names."""
    dtype = dtype_named(setup.dtype)
    checkout = open_checkout(checkout_root(setup), dtype)
    network = setup.hold(load_upstream_stage1(setup.layout.transformer, torch.device(setup.device), dtype))
    return TorchStage1(UpstreamStage1(network, checkout.commit), dtype)


class UpstreamStage1:
    """Velocities by upstream's network; arguments and results as of `Stage1Engine`.

    Args:
        transformer: From `load_upstream_stage1`.
        commit: The checkout's.
    """

    def __init__(self, transformer: nn.Module, commit: str) -> None:
        self.transformer = transformer
        self.commit = commit

    def prepare(
        self, prompt_embeds: Tensor, prompt_attention_mask: Tensor, camera: Mapping[str, Tensor]
    ) -> UpstreamConditioning:
        """Move everything that does not change between steps to the device."""
        parameter = next(self.transformer.parameters())
        return UpstreamConditioning(
            prompt_embeds.to(parameter.device, parameter.dtype),
            prompt_attention_mask.to(parameter.device),
            camera["raymap"][None].to(parameter.device, torch.float32),
            camera["chunk_plucker"][None].to(parameter.device, parameter.dtype),
            UpstreamPlan(self.commit, len(prompt_embeds)),
        )

    def shrink(self) -> bool:
        """Upstream's code has no leaner plan."""
        return False

    @torch.no_grad()
    def velocity(
        self, latents: Tensor, timestep: float, conditioning: UpstreamConditioning, guidance_scale: float
    ) -> Tensor:
        """The guided velocity of one step, (1, C, T, h, w) float32."""
        frame_timesteps = torch.full((1, 1, latents.shape[2]), timestep, dtype=torch.float32, device=latents.device)
        frame_timesteps[:, :, 0] = 0
        velocities = [
            self._predict(latents, frame_timesteps, conditioning, slice(prompt, prompt + 1))
            for prompt in range(len(conditioning.prompt_embeds))
        ]
        if guidance_scale <= 1:
            return velocities[-1]
        negative, positive = velocities
        return negative + guidance_scale * (positive - negative)

    def _predict(
        self, latents: Tensor, frame_timesteps: Tensor, conditioning: UpstreamConditioning, prompt: slice
    ) -> Tensor:
        return self.transformer(
            latents,
            frame_timesteps,
            conditioning.prompt_embeds[prompt],
            mask=conditioning.prompt_attention_mask[prompt],
            camera_conditions=conditioning.raymap,
            chunk_plucker=conditioning.chunk_plucker,
            data_info={},
        ).float()
