"""What the ways to sample Stage 1 share: what they are given, what they leave, checks and previews on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from sana_wm.camera.intrinsics import resize_and_crop
from sana_wm.camera.of_manifest import picture_geometry
from sana_wm.durable import durable_file
from sana_wm.models.engine import Stage1Inputs
from sana_wm.models.stage1.preview import LatentPreview
from sana_wm.runtime.phases import Phase
from sana_wm.runtime.sentinels import check_latents
from sana_wm.stages.context import StageContext
from sana_wm.video.picture import open_picture

CAMERA_TENSORS = ("raymap", "chunk_plucker", "P", "P_inv")


@dataclass(frozen=True)
class Sampled:
    """What sampling leaves.

    Attributes:
        latents: (1, 128, F, h, w) float32 on the CPU.
        plan: What the engine chose, as JSON.
        kept: Files besides, already durable.
    """

    latents: torch.Tensor
    plan: Mapping[str, Any]
    kept: tuple[Path, ...] = ()


class Sampling(Protocol):
    """A way to sample, as `sana_wm.backends` names it."""

    def __call__(self, context: StageContext, phase: Phase, conditioning: Mapping[str, torch.Tensor]) -> Sampled:
        """Sample within the phase that is open.

        Args:
            context: Of the stage.
            phase: Holds the networks.
            conditioning: Everything Stage 1 is given besides noise.
        """
        ...


def engine_inputs(
    prompt_embeds: torch.Tensor, prompt_attention_mask: torch.Tensor, conditioning: Mapping[str, torch.Tensor]
) -> Stage1Inputs:
    """Prompts, (prompts, 1, L, D) and (prompts, L), and the conditioning's camera as an engine takes them."""
    return Stage1Inputs(
        prompt_embeds=prompt_embeds.float().numpy(),
        prompt_attention_mask=prompt_attention_mask.numpy(),
        camera={name: conditioning[name].numpy() for name in CAMERA_TENSORS},
    )


def check_progress(context: StageContext, latents: torch.Tensor, where: str) -> None:
    """Refuse latents that cannot be right, before they are kept.

    Raises:
        SanityError: They are not finite, or out of all proportion.
        StageFailedError: The system aborted some of the work.
    """
    context.engine_memory.synchronize()
    context.phases.faults.check()
    evidence, go_on = context.run.evidence_file("stage1"), context.run.resume_command
    check_latents(latents, context.manifest.sanity, where=where, evidence=evidence, go_on=go_on)


def crop_picture(context: StageContext) -> Image.Image:
    """The first frame at the video's size."""
    picture = open_picture(Path(context.manifest.input.image)).image
    return resize_and_crop(picture, picture_geometry(context.manifest, picture.size))


class Previews:
    """Saves a picture every `stage1.preview_every` steps or chunks.

    Args:
        context: Of the stage.
        first_latent: (1, C, 1, h, w) of the clean first frame.
    """

    def __init__(self, context: StageContext, first_latent: torch.Tensor) -> None:
        self._context = context
        self._every = context.manifest.stage1.preview_every
        self._renderer = LatentPreview(first_latent, crop_picture(context)) if self._every else None

    def is_due(self, done: int) -> bool:
        """Whether one is due when so many steps or chunks are done."""
        return self._renderer is not None and done % self._every == 0

    def save(self, done: int, clean: torch.Tensor) -> str | None:
        """The path of the picture of clean latents, (1, C, n, h, w), if one is due."""
        if self._renderer is None or not self.is_due(done):
            return None
        path = self._context.run.step_picture_file(done)
        with durable_file(path) as part:
            self._renderer.render(clean).save(part)
        return str(path)
