"""Stage 1: text encoder, VAE encoder, transformer; one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from sana_wm.backends import load_part
from sana_wm.camera.conditioning import condition_camera
from sana_wm.camera.intrinsics import crop_intrinsics
from sana_wm.camera.of_manifest import load_camera_path, load_intrinsics, picture_geometry
from sana_wm.models.loading import load_gemma2, load_vae
from sana_wm.models.stage1.text import encode_prompts
from sana_wm.models.vae.first_frame import encode_first_frame
from sana_wm.replacements.catalogue import load_catalogue, require
from sana_wm.runs.links import require_inputs
from sana_wm.runtime.latents import load_if_ours, save_tensors
from sana_wm.runtime.phases import Phase
from sana_wm.stages.context import StageContext
from sana_wm.stages.earlier_run import take_earlier
from sana_wm.stages.sampling import CAMERA_TENSORS, Sampling, crop_picture
from sana_wm.video.picture import inspect_picture


def run(context: StageContext) -> None:
    """Make Stage 1 latents from the manifest's inputs and leave them with their receipt."""
    require(*load_catalogue())  # those of the later stages too: a mismatch shall not show after hours
    require_inputs(context.manifest, "stage1")
    context.begin()
    conditioning = _make_conditioning(context)
    with context.phases.phase("transformer", context.engine_memory) as phase:
        sample: Sampling = load_part(context.backend.sample_stage1)
        sampled = sample(context, phase, conditioning)
    context.save_latents(sampled.latents)
    files = (context.run.conditioning_file, context.run.stage1_file, *sampled.kept)
    context.finish(outputs=files, plan=sampled.plan)


def _make_conditioning(context: StageContext) -> dict[str, torch.Tensor]:
    """Everything Stage 1 is given besides noise; what of it is in the run directory and valid is not made again."""
    file, owner = context.run.conditioning_file, context.kept("conditioning")
    if (kept := load_if_ours(file, owner)) is not None:
        return kept
    conditioning: dict[str, torch.Tensor] = {}
    for target, (names, make) in _PARTS.items():
        kept = load_if_ours(file, context.kept_part("conditioning", target))
        conditioning |= {name: kept[name] for name in names} if kept is not None else make(context)
    conditioning |= take_earlier(context, conditioning)
    save_tensors(file, conditioning, owner | context.parts_kept())
    context.stop.check()
    return conditioning


def _make_text(context: StageContext) -> dict[str, torch.Tensor]:
    with context.phases.phase("text_encoder") as phase:
        return _encode_text(context, phase)


def _encode_text(context: StageContext, phase: Phase) -> dict[str, torch.Tensor]:
    tokenizer, text_encoder = load_gemma2(context.layout, context.device, context.dtype)
    phase.hold(text_encoder)
    asked = context.manifest.input
    embeds, mask = encode_prompts(tokenizer, text_encoder, asked.prompt, asked.negative_prompt)
    return {"prompt_embeds": embeds.to("cpu"), "prompt_attention_mask": mask.to("cpu")}


def _make_picture(context: StageContext) -> dict[str, torch.Tensor]:
    with context.phases.phase("vae_encoder") as phase:
        return _encode_picture(context, phase)


def _encode_picture(context: StageContext, phase: Phase) -> dict[str, torch.Tensor]:
    vae = phase.hold(load_vae(context.layout, context.device, context.dtype, part="encoder"))
    pixels = torch.from_numpy(np.asarray(crop_picture(context), dtype=np.float32) / 255.0 * 2.0 - 1.0)
    return {"first_latent": encode_first_frame(vae, pixels.permute(2, 0, 1)[None]).float().to("cpu")}


def _make_camera(context: StageContext) -> dict[str, torch.Tensor]:
    manifest = context.manifest
    video = manifest.video
    path = load_camera_path(manifest)
    trajectory = path.trajectory.first(video.num_frames)
    picture = inspect_picture(Path(manifest.input.image))
    intrinsics = load_intrinsics(manifest, path, video.num_frames, picture.size)
    geometry = picture_geometry(manifest, picture.size)
    camera = condition_camera(
        trajectory.c2w, crop_intrinsics(intrinsics, geometry), height=video.height, width=video.width
    )
    return {name: torch.from_numpy(getattr(camera, name)) for name in CAMERA_TENSORS}


#: The parts of the conditioning in the order in which they are made: their tensors, and who makes them.
_PARTS: Mapping[str, tuple[tuple[str, ...], Callable[[StageContext], dict[str, torch.Tensor]]]] = {
    "stage1/conditioning/text": (("prompt_embeds", "prompt_attention_mask"), _make_text),
    "stage1/conditioning/picture": (("first_latent",), _make_picture),
    "stage1/conditioning/camera": (CAMERA_TENSORS, _make_camera),
}
