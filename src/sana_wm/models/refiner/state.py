"""What a refinement has done so far: enough to go on with the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sana_wm.errors import HandoffError


@dataclass(frozen=True)
class RefinerState:
    """The state between two blocks, or between two steps of the single shot.

    Attributes:
        latents: (B, C, F, h, w) float32 on the CPU: refined, or in the single shot half denoised, up to here.
        next_block: The block (the step) that comes next.
        generator_state: State of the CPU noise generator, uint8.

    What the next block looks back at is computed again from `latents`: one pass a finished block, a quarter of what
    they took, and the same bits. Kept, it would be 7.6 GB at full size, where the rest is 18 MB.
    """

    latents: Tensor
    next_block: int
    generator_state: Tensor

    def to_tensors(self) -> dict[str, Tensor]:
        """Everything by name, ready for a safetensors file; views of live tensors, to be saved before going on."""
        return {
            "latents": self.latents,
            "next_block": torch.tensor(self.next_block),
            "generator_state": self.generator_state,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> RefinerState:
        """The state that `to_tensors` gave.

        Raises:
            HandoffError: A tensor is missing.
        """
        missing = [name for name in ("latents", "next_block", "generator_state") if name not in tensors]
        if missing:
            raise HandoffError("a refiner checkpoint is incomplete", got=sorted(tensors), expected=missing)
        return cls(tensors["latents"], int(tensors["next_block"]), tensors["generator_state"])

    def matching(self, latents: Tensor) -> RefinerState:
        """This state, if it can be of a run over these latents.

        Raises:
            HandoffError: It is of latents of another shape.
        """
        if self.latents.shape != latents.shape:
            raise HandoffError(
                "a refiner checkpoint is of another run",
                got=f"latents {tuple(self.latents.shape)}",
                expected=tuple(latents.shape),
                next_step="Delete the checkpoint, or resume the run that it belongs to.",
            )
        return self
