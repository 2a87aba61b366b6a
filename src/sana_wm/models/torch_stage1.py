"""Stage 1 engines of torch behind the border that `sana_wm.models.engine` draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sana_wm.models.engine import Latents, Stage1Inputs


class Plan(Protocol):
    """How steps are computed."""

    def as_json(self) -> dict[str, Any]:
        """For the receipt."""
        ...


class Prepared(Protocol):
    """What does not change between steps."""

    @property
    def plan(self) -> Plan:
        """How they are computed."""
        ...


class VelocityEngine(Protocol):
    """A torch engine: our own (`sana_wm.models.stage1.engine`), or NVIDIA's (`sana_wm.models.pr379.stage1`)."""

    @property
    def transformer(self) -> nn.Module:
        """Its network."""
        ...

    def prepare(self, prompt_embeds: Tensor, prompt_attention_mask: Tensor, camera: Mapping[str, Tensor]) -> Any:
        """What does not change between steps."""
        ...

    def velocity(self, latents: Tensor, timestep: float, conditioning: Any, guidance_scale: float) -> Tensor:
        """The guided velocity of one step."""
        ...

    def shrink(self) -> bool:
        """Whether the next `prepare` can plan with less; then it does."""
        ...


class TorchStage1:
    """`sana_wm.models.engine.Stage1` by a torch engine.

    Args:
        engine: With its network on the device.
        dtype: What the prompt's embeddings were computed in.
    """

    def __init__(self, engine: VelocityEngine, dtype: torch.dtype) -> None:
        self._engine, self._dtype = engine, dtype
        parameters = list(engine.transformer.parameters())
        self._device = parameters[0].device
        self.weights_bytes = sum(parameter.nbytes for parameter in parameters)
        self._prepared: Prepared | None = None

    def prepare(self, inputs: Stage1Inputs) -> Mapping[str, Any]:
        """As `sana_wm.models.engine.Stage1`."""
        self._prepared = None  # not beside its successor
        prepared: Prepared = self._engine.prepare(
            torch.from_numpy(inputs.prompt_embeds).to(self._dtype),  # float32 holds what bfloat16 was
            torch.from_numpy(inputs.prompt_attention_mask),
            {name: torch.from_numpy(array) for name, array in inputs.camera.items()},
        )
        self._prepared = prepared
        return prepared.plan.as_json()

    def velocity(self, latents: Latents, timestep: float, guidance_scale: float) -> Latents:
        """As `sana_wm.models.engine.Stage1`."""
        here = torch.from_numpy(latents).to(self._device)
        return self._engine.velocity(here, timestep, self._prepared, guidance_scale).float().cpu().numpy()

    def shrink(self) -> bool:
        """As `sana_wm.models.engine.Stage1`."""
        return self._engine.shrink()
