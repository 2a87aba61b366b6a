"""What a stage is: one record each, in the order in which they run.

A new stage is its word in `sana_wm.names.Stage`, its record here, and its module in `sana_wm.stages`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sana_wm.names import STAGES, STARTING, Stage
from sana_wm.sizes import LATENT_CHANNELS

if TYPE_CHECKING:
    from sana_wm.manifest.model import Manifest

#: What the released student's last chunk leaves: keys of seven frames and contexts, and the states, always float32.
STATE_ELEMENTS_PER_TOKEN, STATE_BYTES = 560_000, 45_158_400


@dataclass(frozen=True)
class Part:
    """A part of what a stage keeps that is valid by itself.

    Attributes:
        title: In words.
        phases: That only make it: with it at hand they do not run.
    """

    title: str
    phases: tuple[str, ...] = ()


@dataclass(frozen=True)
class StageSpec:
    """One stage.

    Attributes:
        name: Everywhere: manifest key, module, process argument, log, receipt.
        does: What it does in a user's words, behind its name.
        phases: What it does, one network after another, and who plans each: `module:function`, or the field of
            `sana_wm.backends.Backend` that says so for what an engine computes.
        components: What it reads of the weights, in that order.
        outputs: What it is run for, below the run directory; its receipt vouches for it.
        run_bytes: What it takes at most in the run directory, besides small files.
        latents: The output that a later stage reads, if there is one.
        sources: Whose latents it reads: those of the first that the manifest runs.
        kept: What it makes on the way and uses again in its next start.
        parts: What of that is valid by itself, by what manifest fields steer: `refiner/text`.
        asked: What it leaves besides where a manifest asks for it.
        results_version: Raised when a release makes other numbers than the one before from the same settings, weights
            and libraries, on purpose: what was made under a lower one is made again.
        off: Why a manifest does not run it; `None` when it does.
        looked_at_before: The later stage that what it makes is looked at before, where it serves nothing else: with
            that one done it is not made any more, and no stage waits for it.
        input_files: The fields of a manifest whose files it reads.
        frames_bytes: What it takes at most in the folder for frames, where there is one.
        encodes_video: Whether it needs ffmpeg.
        growing: What of its video can be watched while it is made.
        timed_like: A stage of the same work: what is known of its times is known of this one's.
    """

    name: Stage
    does: str
    phases: Mapping[str, str]
    components: tuple[str, ...]
    outputs: tuple[str, ...]
    run_bytes: Callable[[Manifest], int]
    latents: str | None = None
    sources: tuple[Stage, ...] = ()
    kept: tuple[str, ...] = ()
    parts: Mapping[str, Part] = field(default_factory=dict[str, Part])
    asked: tuple[str, ...] = ()
    results_version: int = 1
    off: Callable[[Manifest], str | None] = lambda _: None
    looked_at_before: Stage | None = None
    input_files: Callable[[Manifest], tuple[str, ...]] = lambda _: ()
    frames_bytes: Callable[[Manifest], int] = lambda _: 0
    encodes_video: bool = False
    growing: str | None = None
    timed_like: Stage | None = None


def _latents_bytes(manifest: Manifest) -> int:
    """Of one set of latents, float32."""
    return manifest.latent_num_frames * manifest.latent_height * manifest.latent_width * LATENT_CHANNELS * 4


def _state_bytes(manifest: Manifest) -> int:
    """Of what the released model's last chunk leaves, where it is kept."""
    if not manifest.stage1.keep_state:
        return 0
    # Where `auto` is left to the machine, it may be its CPU: float32.
    narrow = manifest.dtype == "bfloat16" or (manifest.dtype == "auto" and manifest.device in ("mps", "cuda"))
    elements = manifest.latent_height * manifest.latent_width * STATE_ELEMENTS_PER_TOKEN
    return elements * (2 if narrow else 4) + STATE_BYTES


def _pixels(manifest: Manifest) -> int:
    """Of the whole video."""
    return manifest.video.num_frames * manifest.video.height * manifest.video.width


def _why_no_preview(manifest: Manifest) -> str | None:
    if not manifest.refiner.enabled:
        return "refiner.enabled is false: the video shows the same"
    return None if manifest.preview.enabled else "preview.enabled is false"


STAGE1 = StageSpec(
    name="stage1",
    does="makes the video",
    phases={
        "text_encoder": "sana_wm.planning.forecasts.stage1:plan_text_encoder",
        "vae_encoder": "sana_wm.planning.forecasts.stage1:plan_vae_encoder",
        "transformer": "plan_stage1",
    },
    components=("stage1_tokenizer", "stage1_text_encoder", "vae", "transformer"),
    outputs=("latents/stage1.safetensors",),
    # Its latents, the conditioning, which is less than two, two checkpoints and the one that is being written.
    run_bytes=lambda manifest: 6 * _latents_bytes(manifest) + _state_bytes(manifest),
    latents="latents/stage1.safetensors",
    kept=("latents/conditioning.safetensors",),
    parts={
        "stage1/conditioning/text": Part("prompt embeddings", ("text_encoder",)),
        "stage1/conditioning/picture": Part("first-frame latents", ("vae_encoder",)),
        "stage1/conditioning/camera": Part("camera tensors"),
    },
    asked=("latents/stage1_state.safetensors",),
    input_files=lambda _: (
        "input.image",
        "input.prompt_file",
        "input.continues",
        "input.continues.conditioning",
        "camera.poses",
        "camera.poses.cameras",
        "camera.intrinsics",
    ),
)
PREVIEW = StageSpec(
    name="preview",
    does="shows it before it is refined",
    phases={"vae_decoder": "sana_wm.planning.forecasts.vae_decode:plan_preview_decoder"},
    components=("vae",),
    outputs=("preview.mp4",),
    run_bytes=lambda manifest: 2 * _pixels(manifest) // 16,  # as the video's, without one that grows
    sources=("stage1",),
    off=_why_no_preview,
    looked_at_before="refiner",
    encodes_video=True,
    timed_like="vae_decode",
)
REFINER = StageSpec(
    name="refiner",
    does="sharpens it",
    phases={
        "text_encoder": "sana_wm.planning.forecasts.refiner:plan_text_encoder",
        "connectors": "sana_wm.planning.forecasts.refiner:plan_connectors",
        "transformer": "plan_refiner",
    },
    components=("refiner_tokenizer", "refiner_text_encoder", "connectors", "refiner_transformer"),
    outputs=("latents/refined.safetensors",),
    run_bytes=lambda manifest: 4 * _latents_bytes(manifest),  # as Stage 1's, without the conditioning
    latents="latents/refined.safetensors",
    sources=("stage1",),
    kept=("latents/refiner_text.safetensors",),
    parts={"refiner/text": Part("refiner text", ("text_encoder", "connectors"))},
    input_files=lambda _: ("input.continues.refined",),
    off=lambda manifest: None if manifest.refiner.enabled else "refiner.enabled is false",
)
VAE_DECODE = StageSpec(
    name="vae_decode",
    does="turns it into frames",
    phases={"vae_decoder": "sana_wm.planning.forecasts.vae_decode:plan_vae_decoder"},
    components=("vae",),
    outputs=("video.mp4", "contact_sheet.png"),
    # 0.5 bits a pixel, thrice what libx264 at crf 18 makes of noise-free footage; as segments, growing, and joined.
    run_bytes=lambda manifest: 3 * _pixels(manifest) // 16,
    sources=("refiner", "stage1"),
    input_files=lambda manifest: ("camera.poses",) if manifest.video.overlay else (),
    frames_bytes=lambda manifest: 3 * _pixels(manifest),  # a PNG is at most its pixels
    encodes_video=True,
    growing="growing.mp4",
    timed_like="preview",
)
PIPELINE: dict[Stage, StageSpec] = {spec.name: spec for spec in (STAGE1, PREVIEW, REFINER, VAE_DECODE)}


def say_what_each_does(stages: Iterable[Stage] = STAGES) -> str:
    """Stages with what each does: `stage1 makes the video, vae_decode turns it into frames`."""
    return ", ".join(f"{stage} {PIPELINE[stage].does}" for stage in stages)


def active_stages(manifest: Manifest) -> tuple[Stage, ...]:
    """The stages that a manifest runs."""
    return tuple(stage for stage in STAGES if PIPELINE[stage].off(manifest) is None)


def source_of(manifest: Manifest, stage: Stage) -> Stage | None:
    """The stage whose latents a stage reads; `None` for one that begins with the inputs."""
    return next((source for source in PIPELINE[stage].sources if PIPELINE[source].off(manifest) is None), None)


def phases_of(stage: Stage) -> tuple[str, ...]:
    """What a stage does in order, its start included; a start that goes on skips those that are done."""
    return (STARTING, *PIPELINE[stage].phases)


def stages_from(first: Stage) -> tuple[Stage, ...]:
    """A stage and all that are made from what it leaves, in their order."""
    found: tuple[Stage, ...] = (first,)
    for stage in stages_after(first):
        if set(PIPELINE[stage].sources) & set(found):
            found += (stage,)
    return found


def stages_after(stage: Stage) -> tuple[Stage, ...]:
    """The stages that run later than one, whatever they are made from."""
    return STAGES[STAGES.index(stage) + 1 :]
