"""The closed vocabularies of the project: each word that a manifest, a file or a command may say, in one place."""

from __future__ import annotations

from typing import Literal, get_args

#: In the order in which they run; `sana_wm.pipeline` says what each is.
Stage = Literal["stage1", "preview", "refiner", "vae_decode"]
STAGES: tuple[Stage, ...] = get_args(Stage)
#: The released models: `bidirectional` is the 60-step one, `streaming` its 4-step student.
Variant = Literal["bidirectional", "streaming"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
#: What a stage does before its first phase: start Python, import, check what it is given.
STARTING = "starting"
#: What it does between and after its phases: save, hash, put the video together, leave.
SAVING = "saving"
#: Kinds of device that a stage can work on.
DeviceKind = Literal["mps", "cuda", "cpu"]
#: How weight files lie on disk: as NVIDIA released them, or converted for diffusers.
LayoutName = Literal["original", "diffusers"]
LAYOUTS: tuple[LayoutName, ...] = get_args(LayoutName)
#: Key mappings of camera actions (`sana_wm.camera.dialects`).
DialectName = Literal["pr379", "smoothed"]
#: What a pose matrix maps, and along which axes its camera looks (`sana_wm.camera.poses`).
PosesConvention = Literal["opencv_c2w", "opencv_w2c", "opengl_c2w"]
#: Which part of a picture of other proportions the video shows (`sana_wm.camera.crop`).
CropWord = Literal["centre", "top", "bottom", "left", "right"]
CROP_WORDS: tuple[CropWord, ...] = get_args(CropWord)
CameraRescale = Literal["pr379", "diffusers", "none"]
#: The two forms of the student's arithmetic that upstream published for the same weights (docs/differences.md).
StreamingVersion = Literal["main", "release401"]
#: Where the noise of a chunk comes from: its own number, or one draw for the whole clip.
ChunkNoise = Literal["chunk", "clip"]
#: How the weights of the refiner and of its text encoder are held.
WeightBits = Literal["as_stored", "int8"]
WEIGHT_BITS: tuple[WeightBits, ...] = get_args(WeightBits)
RefinerMode = Literal["autoregressive", "single_shot"]
REFINER_MODES: tuple[RefinerMode, ...] = get_args(RefinerMode)
Codec = Literal["libx264", "h264_videotoolbox", "hevc_videotoolbox"]


def stage_named(name: str) -> Stage | None:
    """The stage of this name, or `None`."""
    return next((stage for stage in STAGES if stage == name), None)
