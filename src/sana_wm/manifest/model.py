"""The manifest, version 1: every setting of a run, parsed once into frozen, strict objects.

The JSON Schema that ships with the package is generated from these classes (`sana_wm.manifest.schema`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sana_wm.manifest.fields import facts, neutral
from sana_wm.manifest.limits import MemorySection, PowerSection, SanitySection
from sana_wm.manifest.lineage import MadeFrom
from sana_wm.manifest.paths import PathText
from sana_wm.manifest.section import Positive, Section
from sana_wm.names import (
    CameraRescale,
    ChunkNoise,
    Codec,
    CropWord,
    DialectName,
    LayoutName,
    PosesConvention,
    RefinerMode,
    StreamingVersion,
    Variant,
    WeightBits,
)
from sana_wm.sizes import FRAMES_PER_LATENT, MOST_FRAMES, PIXELS_PER_LATENT

Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
#: `camera.intrinsics` for "find out"; a file of this name is written `./estimate`.
ESTIMATE = "estimate"
Share = Annotated[float, Field(ge=0, le=1)]
PixelIntrinsics = Annotated[tuple[float, float, float, float], Field(description="[fx, fy, cx, cy]")]

#: What Stage 1 is given is kept in three parts, each valid by itself; docs/runs.md says what that saves.
TEXT, PICTURE, CAMERA_TENSORS = (f"stage1/conditioning/{part}" for part in ("text", "picture", "camera"))
#: The camera path: Stage 1 follows it, the decode draws it.
CAMERA = facts(CAMERA_TENSORS, "vae_decode")
CAMERA_FILE = facts(CAMERA_TENSORS, "vae_decode", path="input")
#: What every number depends on.
EVERYTHING = facts(TEXT, PICTURE, CAMERA_TENSORS, "preview", "refiner/text", "vae_decode", work=True)


class ModelSection(Section, frozen=True):
    """Where the weights lie."""

    layout: Annotated[LayoutName, neutral(work=True)] = Field(default="original", description="Weight layout on disk.")
    root: Annotated[PathText, neutral(work=True, path="weights")] = Field(description="Folder of the SANA-WM weights.")
    gemma_root: Annotated[PathText | None, neutral(work=True, path="weights")] = Field(
        default=None, description="Folder of gemma-2-2b-it; needed by the original layout only."
    )
    refiner_root: Annotated[PathText | None, neutral(work=True, path="weights")] = Field(
        default=None, description="Folder of the refiner; null means ROOT/refiner."
    )
    backend: Annotated[str, facts("stage1", "refiner", work=True)] = Field(
        default="diffusers",
        description="Whose code runs Stage 1 and the refiner: diffusers (ours, on its networks), or pr379 (NVIDIA's).",
        examples=["diffusers", "pr379"],
    )
    variant: Annotated[Variant, facts("stage1", "refiner", work=True)] = Field(
        default="bidirectional",
        description="Which released model: bidirectional, 60 steps for the whole clip, or streaming, 4 for each chunk.",
    )
    weights: Annotated[WeightBits, facts("refiner/text", "refiner", work=True)] = Field(
        default="as_stored", description="as_stored, or int8: the refiner and its text encoder in 8 bits."
    )
    pr_root: Annotated[PathText | None, neutral(path="code")] = Field(
        default=None, description="Patched checkout of NVlabs/Sana; needed by backend pr379 only (docs/pr379.md)."
    )
    depth_pro_root: Annotated[PathText | None, neutral(path="weights")] = Field(
        default=None, description="Folder of apple/DepthPro-hf; for intrinsics to estimate where EXIF says nothing."
    )


class InputSection(Section, frozen=True):
    """What the video starts from."""

    image: Annotated[PathText, facts(PICTURE, CAMERA_TENSORS, path="input")] = Field(
        description="First frame: PNG, JPEG, HEIC, AVIF, WebP, TIFF, BMP, GIF or PPM."
    )
    crop: Annotated[CropWord | tuple[Share, Share], facts(PICTURE, CAMERA_TENSORS)] = Field(
        default="centre",
        description="What the video shows of a picture of other proportions: centre, top, bottom, left, right; or "
        "[x, y], the shares, 0 to 1, of what is cut off that lie left of it and above it.",
    )
    prompt: Annotated[str | None, facts(TEXT, "refiner/text")] = Field(
        default=None, description="Prompt text; exactly one of prompt and prompt_file."
    )
    prompt_file: Annotated[PathText | None, facts(TEXT, path="input")] = Field(
        default=None, description="UTF-8 text file that holds the prompt."
    )
    negative_prompt: Annotated[str, facts(TEXT)] = Field(default="", description="Negative prompt for guidance.")
    continues: Annotated[PathText | None, facts("stage1/conditioning", "refiner", work=True, path="input")] = Field(
        default=None, description="Stage 1 latents of a finished streaming run that this one goes on from."
    )


class CameraSection(Section, frozen=True):
    """The camera path."""

    action: Annotated[str | None, CAMERA] = Field(default=None, description="Action string; either this or poses.")
    dialect: Annotated[DialectName, CAMERA] = Field(
        default="pr379",
        description="Key mapping of action. pr379: a/d strafe, j/l yaw. smoothed: a/d yaw, j/l strafe, inertia.",
    )
    translation_speed: Annotated[Positive, CAMERA] = Field(default=0.05, description="Scene units per frame.")
    rotation_speed_deg: Annotated[Positive, CAMERA] = Field(default=1.2, description="Degrees per frame.")
    poses: Annotated[PathText | None, CAMERA_FILE] = Field(
        default=None,
        description="Poses file: .npy, .npz, RealEstate10K, transforms.json, TUM, KITTI, COLMAP and others.",
    )
    poses_convention: Annotated[PosesConvention | None, CAMERA] = Field(
        default=None, description="What its matrices are; null takes what its format says, for arrays opencv_c2w."
    )
    poses_fps: Annotated[Positive | Literal["timestamps"] | None, CAMERA] = Field(
        default=None,
        description="Poses a second, or timestamps for the file's own times: resampled to video.fps. "
        "null takes each pose for a frame.",
    )
    intrinsics: Annotated[PathText | PixelIntrinsics | None, CAMERA_FILE] = Field(
        default=None,
        description="[fx, fy, cx, cy] or .npy of (4,), (3,3), (F,4), (F,3,3), in pixels of the input image; "
        "or estimate: from the picture's EXIF data, else by Depth Pro; null takes those in the poses file.",
    )


class VideoSection(Section, frozen=True):
    """The video to make."""

    num_frames: Annotated[int, facts(CAMERA_TENSORS, "preview", "vae_decode", work=True)] = Field(
        default=321, ge=9, le=MOST_FRAMES, description="8k+1, at most what the camera path gives."
    )
    height: Annotated[int, facts(PICTURE, CAMERA_TENSORS, "preview", "vae_decode", work=True)] = Field(
        default=704, gt=0, multiple_of=32, description="Pixels; the model was trained at 704."
    )
    width: Annotated[int, facts(PICTURE, CAMERA_TENSORS, "preview", "vae_decode", work=True)] = Field(
        default=1280, gt=0, multiple_of=32, description="Pixels; the model was trained at 1280."
    )
    fps: Annotated[int, facts("preview", "refiner", "vae_decode")] = Field(
        default=16, gt=0, description="Frames per second; also steers the refiner's time axis."
    )
    overlay: Annotated[bool, facts("vae_decode", work=True)] = Field(
        default=False, description="Draw the held keys and a yaw/pitch joystick."
    )
    codec: Annotated[Codec, facts("preview", "vae_decode", work=True)] = Field(
        default="libx264", description="ffmpeg encoder; the videotoolbox ones exist on macOS only."
    )
    crf: Annotated[int, facts("preview", "vae_decode")] = Field(
        default=18, ge=0, le=51, description="libx264 quality, lower is better."
    )
    preset: Annotated[Preset, facts("preview", "vae_decode", work=True)] = Field(
        default="medium", description="libx264 speed preset."
    )
    pixel_format: Annotated[Literal["yuv420p", "yuv444p"], facts("preview", "vae_decode")] = Field(
        default="yuv420p", description="Chroma sampling."
    )
    frames_dir: Annotated[PathText | None, facts("vae_decode", path="output")] = Field(
        default=None, description="Folder for the frames as PNG, too; null writes none."
    )


class Stage1Section(Section, frozen=True):
    """The diffusion transformer."""

    num_inference_steps: Annotated[int, facts("stage1", work=True)] = Field(
        default=60, ge=1, description="Euler steps; the streaming model takes its 4."
    )
    guidance_scale: Annotated[float, facts("stage1", work=True)] = Field(
        default=5.0, ge=1.0, description="Classifier-free guidance; 1 turns it off, as the streaming model has it."
    )
    guidance_until: Annotated[float, facts("stage1", work=True)] = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="Share of the steps that run with guidance: step i, from 0, while i < guidance_until x steps.",
    )
    flow_shift: Annotated[Positive, facts("stage1")] = Field(
        default=9.8, description="Inference shift of the sigmas (9.95 is for training)."
    )
    seed: Annotated[int, facts("stage1")] = Field(
        default=42, ge=0, lt=2**63, description="Noise seed, drawn on the CPU."
    )
    camera_rescale: Annotated[CameraRescale, facts("stage1")] = Field(
        default="pr379", description="Where q, k, v of the camera branch are scaled back: softmax blocks, all, none."
    )
    chunk_noise: Annotated[ChunkNoise, facts("stage1")] = Field(
        default="chunk",
        description="Streaming: noise of a chunk from the seed and its number, or cut from one draw for the clip.",
    )
    streaming_version: Annotated[StreamingVersion, facts("stage1")] = Field(
        default="main", description="Streaming: which of the two forms that upstream published for the same weights."
    )
    keep_state: Annotated[bool, neutral()] = Field(
        default=False, description="Streaming: keep what the last chunk left, so that extend need not make it again."
    )
    checkpoint_every: Annotated[int, neutral(work=True)] = Field(
        default=5, ge=1, description="Steps between checkpoints; the streaming model has one after every chunk."
    )
    preview_every: Annotated[int, neutral(work=True)] = Field(
        default=0, ge=0, description="Steps (streaming: chunks) between preview pictures; 0 makes none."
    )


class PreviewSection(Section, frozen=True):
    """The video of the Stage 1 latents, before they are refined."""

    enabled: Annotated[bool, facts("preview", work=True)] = Field(
        default=True,
        description="Decode the Stage 1 latents to preview.mp4 before they are refined; without a refiner none is.",
    )


class RefinerSection(Section, frozen=True):
    """The LTX-2 refiner."""

    enabled: Annotated[bool, facts("refiner", "vae_decode", work=True)] = Field(
        default=True, description="Refine the Stage 1 latents."
    )
    mode: Annotated[RefinerMode, facts("refiner", work=True)] = Field(
        default="autoregressive", description="autoregressive: as trained. single_shot: as PR #379 ran it."
    )
    seed: Annotated[int, facts("refiner")] = Field(
        default=42, ge=0, lt=2**63, description="Noise seed, drawn on the CPU."
    )
    sink_size: Annotated[int, facts("refiner", work=True)] = Field(
        default=1, ge=1, description="Leading latent frames that stay as they are."
    )
    block_size: Annotated[int, facts("refiner", work=True)] = Field(
        default=3, ge=1, description="Latent frames refined together."
    )
    kv_max_frames: Annotated[int, facts("refiner", work=True)] = Field(
        default=11, ge=2, description="Latent frames the window holds, sink included."
    )


class VaeDecodeSection(Section, frozen=True):
    """The decoder."""

    drop_sink_frame: Annotated[bool, facts("vae_decode")] = Field(
        default=True, description="Drop the first frame of a refined video, as upstream does: 320 of 321 frames."
    )


class Manifest(Section, frozen=True):
    """A run of SANA-WM: image, prompt and camera path in, MP4 out."""

    version: Annotated[Literal[1], neutral()]
    name: Annotated[str, facts("preview", "vae_decode")] = Field(
        min_length=1, max_length=200, description="For people; written into the video's metadata."
    )
    model: ModelSection
    input: InputSection
    camera: CameraSection
    video: VideoSection = VideoSection()
    stage1: Stage1Section = Stage1Section()
    preview: PreviewSection = PreviewSection()
    refiner: RefinerSection = RefinerSection()
    vae_decode: VaeDecodeSection = VaeDecodeSection()
    memory: MemorySection = MemorySection()
    power: PowerSection = PowerSection()
    sanity: SanitySection = SanitySection()
    device: Annotated[Literal["auto", "mps", "cuda", "cpu"], EVERYTHING] = "auto"
    dtype: Annotated[Literal["auto", "bfloat16", "float32"], EVERYTHING] = "auto"
    output_dir: Annotated[PathText, neutral(path="output")] = Field(min_length=1, description="The run directory.")
    made_from: Annotated[MadeFrom | None, neutral()] = Field(
        default=None, description="The run that this one was made from, and what was changed."
    )

    @property
    def frames_within_output(self) -> Path | None:
        """`video.frames_dir` relative to `output_dir`; `None` when it lies elsewhere or there is none."""
        if self.video.frames_dir is None:
            return None
        folder, run_folder = (Path(os.path.normpath(name)) for name in (self.video.frames_dir, self.output_dir))
        return folder.relative_to(run_folder) if folder.is_relative_to(run_folder) else None

    @property
    def dropped_frames(self) -> int:
        """Leading frames that are decoded and not shown: the first of a refined video, which is the untouched input."""
        return int(self.refiner.enabled and self.vae_decode.drop_sink_frame)

    @property
    def latent_num_frames(self) -> int:
        """Latent frames: the VAE makes one of the first frame and one of every eight that follow."""
        return (self.video.num_frames - 1) // FRAMES_PER_LATENT + 1

    @property
    def latent_height(self) -> int:
        """Latent rows: the VAE divides by 32."""
        return self.video.height // PIXELS_PER_LATENT

    @property
    def latent_width(self) -> int:
        """Latent columns: the VAE divides by 32."""
        return self.video.width // PIXELS_PER_LATENT
