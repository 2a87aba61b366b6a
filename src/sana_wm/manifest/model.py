"""The manifest, version 1: every setting of a run, parsed once into frozen, strict objects.

The JSON Schema that ships with the package is generated from these classes (`sana_wm.manifest.schema`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sana_wm.names import CameraRescale, Codec, DialectName, LayoutName, RefinerMode
from sana_wm.sizes import FRAMES_PER_LATENT, GIB, PIXELS_PER_LATENT

Positive = Annotated[float, Field(gt=0)]
Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
#: `camera.intrinsics` for "find out"; a file of this name is written `./estimate`.
ESTIMATE = "estimate"
PixelIntrinsics = Annotated[tuple[float, float, float, float], Field(description="[fx, fy, cx, cy]")]


class Section(BaseModel):
    """Base of all sections: unknown keys refused, no coercion (`"42"` is no seed), immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ModelSection(Section):
    """Where the weights lie."""

    layout: LayoutName = Field(default="original", description="Weight layout on disk.")
    root: str = Field(description="Folder of the SANA-WM weights.")
    gemma_root: str | None = Field(
        default=None, description="Folder of gemma-2-2b-it; needed by the original layout only."
    )
    refiner_root: str | None = Field(default=None, description="Folder of the refiner; null means ROOT/refiner.")
    backend: Literal["diffusers", "pr379"] = Field(
        default="diffusers",
        description="Whose code runs Stage 1 and the refiner: ours on diffusers' networks, or NVIDIA's own (pr379).",
    )
    pr_root: str | None = Field(
        default=None, description="Patched checkout of NVlabs/Sana; needed by backend pr379 only (docs/pr379.md)."
    )
    depth_pro_root: str | None = Field(
        default=None, description="Folder of apple/DepthPro-hf; for intrinsics to estimate where EXIF says nothing."
    )

    @model_validator(mode="after")
    def _original_needs_gemma(self) -> Self:
        if self.layout == "original" and self.gemma_root is None:
            raise ValueError("gemma_root is needed with layout original: it holds gemma-2-2b-it")
        return self

    @model_validator(mode="after")
    def _upstream_needs_its_checkout(self) -> Self:
        if self.backend == "pr379" and self.pr_root is None:
            raise ValueError("pr_root is needed with backend pr379: a checkout of NVlabs/Sana (docs/pr379.md)")
        if self.backend == "pr379" and self.layout != "original":
            raise ValueError("backend pr379 reads layout original only: upstream's own weight files")
        return self


class InputSection(Section):
    """What the video starts from."""

    image: str = Field(description="First frame: PNG, JPEG, WebP, TIFF, BMP, GIF or PPM.")
    prompt: str | None = Field(default=None, description="Prompt text; exactly one of prompt and prompt_file.")
    prompt_file: str | None = Field(default=None, description="UTF-8 text file that holds the prompt.")
    negative_prompt: str = Field(default="", description="Negative prompt for guidance.")

    @model_validator(mode="after")
    def _one_prompt(self) -> Self:
        if (self.prompt is None) == (self.prompt_file is None):
            raise ValueError("give exactly one of prompt and prompt_file")
        if self.prompt is not None and not self.prompt.strip():
            raise ValueError("prompt is empty")
        return self


class CameraSection(Section):
    """The camera path."""

    action: str | None = Field(default=None, description="Action string; exactly one of action and poses.")
    dialect: DialectName = Field(
        default="pr379",
        description="Key mapping of action. pr379: a/d strafe, j/l yaw. smoothed: a/d yaw, j/l strafe, inertia.",
    )
    translation_speed: Positive = Field(default=0.05, description="Scene units per frame.")
    rotation_speed_deg: Positive = Field(default=1.2, description="Degrees per frame.")
    poses: str | None = Field(default=None, description=".npy of (F, 4, 4) camera-to-world poses, OpenCV axes.")
    intrinsics: str | PixelIntrinsics = Field(
        description="[fx, fy, cx, cy] or .npy of (4,), (3,3), (F,4), (F,3,3), in pixels of the input image; "
        "or estimate: from the picture's EXIF data, else by Depth Pro."
    )

    @model_validator(mode="after")
    def _one_path(self) -> Self:
        if (self.action is None) == (self.poses is None):
            raise ValueError("give exactly one of action and poses")
        return self


class VideoSection(Section):
    """The video to make."""

    num_frames: int = Field(default=321, ge=9, le=8185, description="8k+1, at most what the camera path gives.")
    height: int = Field(default=704, gt=0, multiple_of=32, description="Pixels; the model was trained at 704.")
    width: int = Field(default=1280, gt=0, multiple_of=32, description="Pixels; the model was trained at 1280.")
    fps: int = Field(default=16, gt=0, description="Frames per second; also steers the refiner's time axis.")
    overlay: bool = Field(default=False, description="Draw the held keys and a yaw/pitch joystick.")
    codec: Codec = Field(default="libx264", description="ffmpeg encoder; the videotoolbox ones exist on macOS only.")
    crf: int = Field(default=18, ge=0, le=51, description="libx264 quality, lower is better.")
    preset: Preset = Field(default="medium", description="libx264 speed preset.")
    pixel_format: Literal["yuv420p", "yuv444p"] = Field(default="yuv420p", description="Chroma sampling.")
    frames_dir: str | None = Field(default=None, description="Folder for the frames as PNG, too; null writes none.")


class Stage1Section(Section):
    """The diffusion transformer."""

    num_inference_steps: int = Field(default=60, ge=1, description="Euler steps.")
    guidance_scale: float = Field(default=5.0, ge=1.0, description="Classifier-free guidance; 1 turns it off.")
    flow_shift: Positive = Field(default=9.8, description="Inference shift of the sigmas (9.95 is for training).")
    seed: int = Field(default=42, ge=0, lt=2**63, description="Noise seed, drawn on the CPU.")
    camera_rescale: CameraRescale = Field(
        default="pr379", description="Where q, k, v of the camera branch are scaled back: softmax blocks, all, none."
    )
    checkpoint_every: int = Field(default=5, ge=1, description="Steps between checkpoints.")
    preview_every: int = Field(default=0, ge=0, description="Steps between preview pictures; 0 makes none.")


class RefinerSection(Section):
    """The LTX-2 refiner."""

    enabled: bool = Field(default=True, description="Refine the Stage 1 latents.")
    mode: RefinerMode = Field(
        default="autoregressive", description="autoregressive: as trained. single_shot: as PR #379 ran it."
    )
    seed: int = Field(default=42, ge=0, lt=2**63, description="Noise seed, drawn on the CPU.")
    sink_size: int = Field(default=1, ge=1, description="Leading latent frames that stay as they are.")
    block_size: int = Field(default=3, ge=1, description="Latent frames refined together.")
    kv_max_frames: int = Field(default=11, ge=2, description="Latent frames the window holds, sink included.")

    @model_validator(mode="after")
    def _window_holds_the_sink(self) -> Self:
        if self.kv_max_frames <= self.sink_size:
            raise ValueError(f"kv_max_frames {self.kv_max_frames} must exceed sink_size {self.sink_size}")
        return self


class VaeDecodeSection(Section):
    """The decoder."""

    drop_sink_frame: bool = Field(
        default=True, description="Drop the first frame of a refined video, as upstream does: 320 of 321 frames."
    )


class MemorySection(Section):
    """The memory contract."""

    cap_gib: Positive = Field(default=96.0, description="No stage may use more than this.")
    budget_gib: Positive | None = Field(
        default=None, description="What engines plan with; null takes what the cap and the device allow."
    )

    @property
    def cap_bytes(self) -> int:
        """The cap in bytes."""
        return int(self.cap_gib * GIB)


class PowerSection(Section):
    """When a run pauses at its next checkpoint, and goes on by itself."""

    pause_below_battery_percent: int | None = Field(
        default=None, ge=1, le=90, description="Pause while on battery below this charge; null never pauses."
    )
    pause_when_hot: bool = Field(default=False, description="Pause at a critical thermal state (macOS).")


class SanitySection(Section):
    """What counts as broken, and what gets a warning; docs/mps.md says how the limits were set."""

    latent_std_min: float = Field(default=0.02, ge=0, description="Least standard deviation of a latent frame.")
    latent_std_max: Positive = Field(default=20.0, description="Greatest standard deviation of a latent frame.")
    broken_frames: Literal["refuse", "warn"] = Field(
        default="refuse", description="What happens to a decode whose frames only wrong arithmetic can have made."
    )
    black_mean: float = Field(
        default=4.0, ge=0, description="A warning calls a constant frame below this mean luma (0-255) black."
    )
    constant_std: float = Field(
        default=1.0, ge=0, description="A warning calls a frame below this deviation of luma constant."
    )
    saturated_share: float = Field(
        default=0.95, ge=0, le=1, description="A warning calls a frame with more values at 0 or 255 saturated."
    )
    laplacian_share: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="A warning for a frame with less Laplacian energy than this share of the video's median.",
    )


class Manifest(Section):
    """A run of SANA-WM: image, prompt and camera path in, MP4 out."""

    version: Literal[1]
    name: str = Field(min_length=1, max_length=200, description="For people; written into the video's metadata.")
    model: ModelSection
    input: InputSection
    camera: CameraSection
    video: VideoSection = VideoSection()
    stage1: Stage1Section = Stage1Section()
    refiner: RefinerSection = RefinerSection()
    vae_decode: VaeDecodeSection = VaeDecodeSection()
    memory: MemorySection = MemorySection()
    power: PowerSection = PowerSection()
    sanity: SanitySection = SanitySection()
    device: Literal["auto", "mps", "cuda", "cpu"] = "auto"
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    output_dir: str = Field(min_length=1, description="The run directory.")

    @model_validator(mode="after")
    def _upstream_computes_one_way(self) -> Self:
        if self.model.backend == "pr379":
            if self.refiner.enabled and self.refiner.mode != "single_shot":
                raise ValueError('refiner.mode must be "single_shot" with backend pr379: upstream has no other')
            if self.stage1.camera_rescale != "pr379":
                raise ValueError('stage1.camera_rescale must be "pr379" with backend pr379: upstream has no other')
        return self

    @property
    def frames_within_output(self) -> Path | None:
        """`video.frames_dir` relative to `output_dir`; `None` when it lies elsewhere or there is none."""
        if self.video.frames_dir is None:
            return None
        folder, run_folder = (Path(os.path.normpath(name)) for name in (self.video.frames_dir, self.output_dir))
        return folder.relative_to(run_folder) if folder.is_relative_to(run_folder) else None

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


class InputFile(Section):
    """An input as it was when the run began."""

    path: str
    sha256: str


class IntrinsicsEstimate(Section):
    """Intrinsics that nobody gave."""

    intrinsics: PixelIntrinsics
    field_of_view_deg: float = Field(description="Horizontal, of the video's part of the picture.")
    source: str
    uncertainty_share: float = Field(description="How far the focal length may be off, as a share of it.")
    basis: str = Field(description="Where that share comes from.")


class RunManifest(Manifest):
    """What a run directory's `manifest.json` holds.

    The manifest with every default, absolute paths and the prompt's text, the hashes of its input files, and where
    `camera.intrinsics` came from if they were estimated.
    """

    inputs: dict[str, InputFile]
    intrinsics_estimate: IntrinsicsEstimate | None = None
