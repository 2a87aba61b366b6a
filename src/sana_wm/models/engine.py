"""What an engine must do. A backend (`sana_wm.backends`) names who does it.

Latents and conditioning cross this border as numpy arrays on the CPU, float32; what an engine makes of them between
`prepare` and `velocity` is its own. So an engine needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sana_wm.manifest.model import ModelSection, RefinerSection, Stage1Section
from sana_wm.models.refiner.state import RefinerState
from sana_wm.weights.layout import WeightLayout

Latents = NDArray[np.float32]
Network = TypeVar("Network")


def hold_nothing(network: Network) -> Network:
    """For engines outside of a stage: nobody asks whether their networks are gone."""
    return network


@dataclass(frozen=True)
class EngineSetup:
    """What an engine is opened with.

    Attributes:
        layout: Where the weights lie.
        device: `mps`, `cuda` or `cpu`.
        dtype: `bfloat16` or `float32`: what its networks compute in.
        budget_bytes: What it may take, weights included; `None`: no limit.
        model: The manifest's section.
        stage1: The same.
        refiner: The same.
        fps: Frames of video per second.
        hold: Notes a network that must be gone when the phase ends, and returns it.
    """

    layout: WeightLayout
    device: str
    dtype: str
    budget_bytes: int | None
    model: ModelSection
    stage1: Stage1Section
    refiner: RefinerSection
    fps: int
    hold: Callable[[Any], Any] = hold_nothing


@dataclass(frozen=True)
class Stage1Inputs:
    """Everything Stage 1 is given besides noise.

    Attributes:
        prompt_embeds: (prompts, 1, L, D) float32, negative prompt first; one prompt for runs without guidance, or one
            for each chunk.
        prompt_attention_mask: (prompts, L); may have holes.
        camera: `raymap` (T, 20), `chunk_plucker` (48, T, h, w), `P` and `P_inv` (N, 4, 4), float32.
    """

    prompt_embeds: NDArray[np.float32]
    prompt_attention_mask: NDArray[Any]
    camera: Mapping[str, NDArray[np.float32]]


class Stage1(Protocol):
    """Velocities of the diffusion transformer."""

    @property
    def weights_bytes(self) -> int:
        """Of the network, where it computes."""
        ...

    def prepare(self, inputs: Stage1Inputs) -> Mapping[str, Any]:
        """Make everything that does not change between steps, and plan them; returns the plan for the receipt.

        Raises:
            MemoryCapError: No plan fits the budget.
        """
        ...

    def velocity(self, latents: Latents, timestep: float, guidance_scale: float) -> Latents:
        """The guided velocity of one step.

        Args:
            latents: (1, C, T, h, w); frame 0 is the clean condition.
            timestep: Of the other frames, 0 to 1000.
            guidance_scale: At most 1: the prompt alone.

        Returns:
            (1, C, T, h, w).
        """
        ...

    def shrink(self) -> bool:
        """Drop what was prepared and let the next `prepare` plan with less memory; whether that is possible."""
        ...


class ChunkedStage1(Protocol):
    """A video that is made chunk by chunk: each is denoised, then remembered, and final from then on."""

    @property
    def weights_bytes(self) -> int:
        """Of the network, where it computes."""
        ...

    def chunk_ranges(self, latent_num_frames: int) -> Sequence[range]:
        """The latent frames of each chunk of a video."""
        ...

    def prepare(self, inputs: Stage1Inputs) -> Mapping[str, Any]:
        """As `Stage1.prepare`; there may be a prompt for each chunk. What is remembered stays."""
        ...

    def denoise(self, latents: Latents) -> Latents:
        """Take the next chunk down all noise levels.

        Args:
            latents: (1, C, n, h, w): noise, in the first chunk behind the clean first frame.
        """
        ...

    def remember(self, latents: Latents) -> None:
        """Let later chunks see the next one, (1, C, n, h, w) of clean latents."""
        ...

    def memory(self) -> Mapping[str, Tensor]:
        """What is remembered, by name, on the CPU: copies that later chunks do not touch."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], next_chunk: int) -> None:
        """Remember what `memory` gave before chunk `next_chunk`."""
        ...

    def shrink(self) -> Mapping[str, Any] | None:
        """Go on with less memory from the next chunk on; the new plan, or `None` where there is no leaner one."""
        ...


class Refiner(Protocol):
    """The whole refinement."""

    def refine(
        self,
        latents: Latents,
        prompt: tuple[Tensor, Tensor],
        on_state: Callable[[RefinerState], None],
        resume_from: RefinerState | None,
    ) -> Latents:
        """Refine Stage 1 latents.

        Args:
            latents: (1, C, F, h, w).
            prompt: Embeddings (1, L, C) and mask (1, L) from the connectors.
            on_state: Called after every block or step with what would let it go on; may raise to stop.
            resume_from: Such a state of the same run: the result has the same bits as without the stop.
        """
        ...
