"""What a finished streaming run leaves to the one that goes on from it: latents, prompts, and what was remembered.

It is copied into the conditioning of the new run, which needs the earlier one no more from then on; but for what the
earlier one's last chunk left, a gigabyte that is read where it lies and made again where it is not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sana_wm.errors import HandoffError
from sana_wm.runs.earlier import earlier_run
from sana_wm.runtime.latents import load_if_ours, load_tensors, save_tensors
from sana_wm.stages.context import StageContext

#: Ray directions are of order 1; a path that was written to a file and read again differs in the last bits.
CAMERA_TOLERANCE = 1e-3


def take_earlier(context: StageContext, conditioning: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The earlier run's part of the conditioning; nothing for a run that begins with its picture.

    Args:
        context: Of Stage 1.
        conditioning: Of the new run so far.

    Returns:
        `earlier_latents` (1, C, t, h, w); `earlier_prompt_embeds` (m, 1, L, D) and `earlier_prompt_attention_mask`
        (m, L), each valid up to latent frame `earlier_prompt_ends` (m,).

    Raises:
        HandoffError: A file of it is missing or damaged, or it is of another size or on another camera path.
    """
    earlier = earlier_run(context.manifest)
    if earlier is None:
        return {}
    latents = load_tensors(earlier.stage1_file, {"stage": context.stage})["latents"]
    kept = load_tensors(earlier.conditioning_file, {"stage": context.stage, "part": "conditioning"})
    _check_fit(context, earlier.stage1_file, latents)
    frames = latents.shape[2]
    camera, before = conditioning["chunk_plucker"][:, :frames], kept["chunk_plucker"]
    if camera.shape != before.shape or not torch.allclose(camera, before, atol=CAMERA_TOLERANCE):
        raise HandoffError(
            f"the camera path does not begin like that of {earlier.path}",
            got="other rays",
            expected=f"the same for its {frames} latent frames",
            next_step=f"Let sana-wm write the manifest: sana-wm extend {earlier.path}",
        )
    embeds, mask = kept["prompt_embeds"][1:], kept["prompt_attention_mask"][1:]
    ends = torch.tensor([frames])
    if "earlier_prompt_ends" in kept:
        embeds = torch.cat([kept["earlier_prompt_embeds"], embeds])
        mask = torch.cat([kept["earlier_prompt_attention_mask"], mask])
        ends = torch.cat([kept["earlier_prompt_ends"], ends])
    return {
        "earlier_latents": latents,
        "earlier_prompt_embeds": embeds,
        "earlier_prompt_attention_mask": mask,
        "earlier_prompt_ends": ends,
    }


def _check_fit(context: StageContext, source: Path, latents: Tensor) -> None:
    shape, wanted = tuple(latents.shape), context.latents_shape
    if shape[:2] + shape[3:] != wanted[:2] + wanted[3:] or shape[2] >= wanted[2]:
        raise HandoffError(
            f"{source} cannot be gone on from",
            got=f"latents {shape}",
            expected=f"fewer latent frames than {wanted}, and all else equal",
            next_step="Give the video the earlier one's size, and more frames than it has.",
        )


def has_one_prompt(conditioning: Mapping[str, Tensor]) -> bool:
    """Whether every frame of the video has the prompt that the new ones have."""
    if "earlier_prompt_ends" not in conditioning:
        return True
    embeds, mask = conditioning["prompt_embeds"][1:], conditioning["prompt_attention_mask"][1:]
    same_embeds = conditioning["earlier_prompt_embeds"] == embeds
    return bool(same_embeds.all()) and bool((conditioning["earlier_prompt_attention_mask"] == mask).all())


def prompts_of_chunks(conditioning: Mapping[str, Tensor], ranges: Sequence[range]) -> tuple[Tensor, Tensor]:
    """Prompt embeddings (1 or chunks, 1, L, D) and their mask: the earlier run's chunks keep the prompts they had."""
    own = conditioning["prompt_embeds"][1:], conditioning["prompt_attention_mask"][1:]
    if has_one_prompt(conditioning):
        return own
    embeds = torch.cat([conditioning["earlier_prompt_embeds"], own[0]])
    mask = torch.cat([conditioning["earlier_prompt_attention_mask"], own[1]])
    rows = torch.searchsorted(conditioning["earlier_prompt_ends"], torch.tensor([frames.stop for frames in ranges]))
    return embeds[rows], mask[rows]


def load_state(context: StageContext, earlier_latents: Tensor) -> dict[str, Tensor] | None:
    """What the earlier run's last chunk left, if it kept that and it is valid here."""
    earlier = earlier_run(context.manifest)
    return earlier and load_if_ours(earlier.stage1_state_file, _state_owner(context, earlier_latents))


def save_state(context: StageContext, latents: Tensor, state: Mapping[str, Tensor]) -> Path:
    """Keep what the last chunk left; returns the file."""
    path = context.run.stage1_state_file
    save_tensors(path, state, _state_owner(context, latents))
    return path


def _state_owner(context: StageContext, latents: Tensor) -> dict[str, str]:
    digest = hashlib.sha256(latents.contiguous().numpy().tobytes()).hexdigest()
    return {**context.made_from("state", digest), "streaming_version": context.manifest.stage1.streaming_version}
