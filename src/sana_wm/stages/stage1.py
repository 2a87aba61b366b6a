"""Stage 1: text encoder, VAE encoder, transformer; one after another."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sana_wm.backends import load_part
from sana_wm.camera.conditioning import condition_camera
from sana_wm.camera.intrinsics import crop_geometry, crop_intrinsics, resize_and_center_crop
from sana_wm.camera.of_manifest import load_camera_path, load_intrinsics
from sana_wm.durable import durable_file
from sana_wm.models.engine import Stage1, Stage1Inputs
from sana_wm.models.loading import load_gemma2, load_vae
from sana_wm.models.stage1.preview import LatentPreview
from sana_wm.models.stage1.sampler import Schedule, build_schedule, euler_step
from sana_wm.models.stage1.text import encode_prompts
from sana_wm.models.vae.first_frame import encode_first_frame
from sana_wm.replacements.catalogue import load_catalogue, require
from sana_wm.runs.events import PlanShrunk, now_s
from sana_wm.runs.links import require_inputs
from sana_wm.runtime.latents import load_if_ours, save_tensors
from sana_wm.runtime.phases import Phase
from sana_wm.runtime.sentinels import check_latents
from sana_wm.stages.context import StageContext
from sana_wm.video.picture import inspect_picture, open_picture

CAMERA_TENSORS = ("raymap", "chunk_plucker", "P", "P_inv")


def run(context: StageContext) -> None:
    """Make Stage 1 latents from the manifest's inputs and leave them with their receipt."""
    require(*load_catalogue())  # those of the later stages too: a mismatch shall not show after hours
    require_inputs(context.manifest, "stage1")
    context.begin()
    conditioning = _make_conditioning(context)
    with context.phases.phase("transformer", context.engine_memory) as phase:
        latents, plan = _denoise(context, phase, conditioning)
    context.save_latents(latents)
    context.finish(outputs=(context.run.conditioning_file, context.run.stage1_file), plan=plan)


def _make_conditioning(context: StageContext) -> dict[str, torch.Tensor]:
    """Everything Stage 1 is given besides noise; from the run directory when it is there."""
    owner = context.kept("conditioning")
    if (kept := load_if_ours(context.run.conditioning_file, owner)) is not None:
        return kept
    with context.phases.phase("text_encoder") as phase:
        conditioning = _encode_text(context, phase)
    with context.phases.phase("vae_encoder") as phase:
        conditioning |= _encode_picture(context, phase)
    conditioning |= _condition_camera(context)
    save_tensors(context.run.conditioning_file, conditioning, owner)
    context.stop.check()
    return conditioning


def _encode_text(context: StageContext, phase: Phase) -> dict[str, torch.Tensor]:
    tokenizer, text_encoder = load_gemma2(context.layout, context.device, context.dtype)
    phase.hold(text_encoder)
    asked = context.manifest.input
    embeds, mask = encode_prompts(tokenizer, text_encoder, asked.prompt, asked.negative_prompt)
    return {"prompt_embeds": embeds.to("cpu"), "prompt_attention_mask": mask.to("cpu")}


def _encode_picture(context: StageContext, phase: Phase) -> dict[str, torch.Tensor]:
    vae = phase.hold(load_vae(context.layout, context.device, context.dtype, part="encoder"))
    pixels = torch.from_numpy(np.asarray(_crop_picture(context), dtype=np.float32) / 255.0 * 2.0 - 1.0)
    return {"first_latent": encode_first_frame(vae, pixels.permute(2, 0, 1)[None]).float().to("cpu")}


def _crop_picture(context: StageContext) -> Image.Image:
    """The first frame at the video's size."""
    video = context.manifest.video
    picture = open_picture(Path(context.manifest.input.image)).image
    return resize_and_center_crop(picture, height=video.height, width=video.width)


def _condition_camera(context: StageContext) -> dict[str, torch.Tensor]:
    manifest = context.manifest
    video = manifest.video
    path = load_camera_path(manifest)
    trajectory = path.trajectory.first(video.num_frames)
    picture = inspect_picture(Path(manifest.input.image))
    intrinsics = load_intrinsics(manifest, path, video.num_frames, picture.size)
    geometry = crop_geometry(picture.size, height=video.height, width=video.width)
    camera = condition_camera(
        trajectory.c2w, crop_intrinsics(intrinsics, geometry), height=video.height, width=video.width
    )
    return {name: torch.from_numpy(getattr(camera, name)) for name in CAMERA_TENSORS}


def _denoise(
    context: StageContext, phase: Phase, conditioning: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, dict[str, Any]]:
    settings = context.manifest.stage1
    engine: Stage1 = load_part(context.backend.open_stage1)(context.engine_setup(phase))
    inputs = _engine_inputs(conditioning, guided=settings.guidance_scale > 1)
    plan = engine.prepare(inputs)
    shrunk_after: list[int] = []
    schedule = build_schedule(settings.num_inference_steps, settings.flow_shift)
    checkpoints = context.checkpoints()
    done, latents = _start(context, checkpoints.load_newest(), conditioning["first_latent"])
    preview = _Preview(context, conditioning["first_latent"])
    for step in range(done, schedule.num_inference_steps):
        verify = partial(_check, context, latents, step, schedule)
        with checkpoints.kept_when_out_of_memory(step, {"latents": latents}, verify):
            velocity = torch.from_numpy(
                engine.velocity(latents.numpy(), schedule.timesteps[step], settings.guidance_scale)
            )
        shown = preview.save(step + 1, latents, velocity, schedule.sigmas[step])
        latents = euler_step(latents, velocity, schedule, step)
        context.report_step(step + 1, schedule.num_inference_steps, preview=shown)
        stopping, shrinking = context.stop.reason is not None, context.take_less()
        is_last = step + 1 == schedule.num_inference_steps
        if stopping or shrinking or is_last or (step + 1) % settings.checkpoint_every == 0:
            _check(context, latents, step + 1, schedule)
            checkpoints.save(step + 1, {"latents": latents})
        if stopping:
            checkpoints.wait()
            context.stop.check()
        if shrinking and not is_last and engine.shrink():
            plan = engine.prepare(inputs)
            shrunk_after.append(step + 1)
            context.events.emit(PlanShrunk(time_s=now_s(), step=step + 1, plan=dict(plan)))
    checkpoints.wait()
    return latents, {"weights_bytes": engine.weights_bytes, **plan, "shrunk_after_steps": shrunk_after}


def _engine_inputs(conditioning: dict[str, torch.Tensor], *, guided: bool) -> Stage1Inputs:
    prompts = slice(None) if guided else slice(1, None)  # the negative prompt stands first
    return Stage1Inputs(
        prompt_embeds=conditioning["prompt_embeds"][prompts].float().numpy(),
        prompt_attention_mask=conditioning["prompt_attention_mask"][prompts].numpy(),
        camera={name: conditioning[name].numpy() for name in CAMERA_TENSORS},
    )


class _Preview:
    """Saves a picture of the predicted clean video every `stage1.preview_every` steps."""

    def __init__(self, context: StageContext, first_latent: torch.Tensor) -> None:
        self._context = context
        self._every = context.manifest.stage1.preview_every
        self._renderer = LatentPreview(first_latent, _crop_picture(context)) if self._every else None

    def save(self, step: int, latents: torch.Tensor, velocity: torch.Tensor, sigma: float) -> str | None:
        """The picture's path if one is due after this step; latents and velocity are those before it."""
        if self._renderer is None or step % self._every:
            return None
        path = self._context.run.preview_file(step)
        clean = latents.clone()
        clean[:, :, 1:] -= sigma * velocity[:, :, 1:]
        with durable_file(path) as part:
            self._renderer.render(clean).save(part)
        return str(path)


def _start(
    context: StageContext, checkpoint: tuple[int, dict[str, torch.Tensor]] | None, first_latent: torch.Tensor
) -> tuple[int, torch.Tensor]:
    """Steps done and latents (1, 128, F, h, w) float32: from a checkpoint, or noise behind the picture.

    They stay on the CPU, where they are a megabyte a frame and a step is seconds of work; the noise is
    drawn there, in float32, in one draw: a seed means the same video on every device.
    """
    if checkpoint is not None:
        done, tensors = checkpoint
        return done, tensors["latents"]
    generator = torch.Generator("cpu").manual_seed(context.manifest.stage1.seed)
    latents = torch.randn(context.latents_shape, generator=generator, dtype=torch.float32)
    latents[:, :, :1] = first_latent
    return 0, latents


def _check(context: StageContext, latents: torch.Tensor, step: int, schedule: Schedule) -> None:
    context.engine_memory.synchronize()
    context.phases.faults.check()
    where = f"step {step} of {schedule.num_inference_steps}"
    evidence = context.run.evidence_file("stage1")
    go_on = context.run.resume_command
    check_latents(latents, context.manifest.sanity, where=where, evidence=evidence, go_on=go_on)
