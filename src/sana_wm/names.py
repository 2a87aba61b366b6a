"""The closed vocabularies of the project: each word that a manifest, a file or a command may say, in one place."""

from __future__ import annotations

from typing import Literal

Stage = Literal["stage1", "refiner", "vae_decode"]
#: In the order in which they run.
STAGES: tuple[Stage, ...] = ("stage1", "refiner", "vae_decode")
#: What a stage does before its first phase: start Python, import, check what it is given.
STARTING = "starting"
#: What it does between and after its phases: save, hash, put the video together, leave.
SAVING = "saving"
#: How weight files lie on disk: as NVIDIA released them, or converted for diffusers.
LayoutName = Literal["original", "diffusers"]
#: Key mappings of camera actions (`sana_wm.camera.dialects`).
DialectName = Literal["pr379", "smoothed"]
CameraRescale = Literal["pr379", "diffusers", "none"]
#: The two forms of the student's arithmetic that upstream published for the same weights (docs/differences.md).
StreamingVersion = Literal["main", "release401"]
#: Where the noise of a chunk comes from: its own number, or one draw for the whole clip.
ChunkNoise = Literal["chunk", "clip"]
RefinerMode = Literal["autoregressive", "single_shot"]
Codec = Literal["libx264", "h264_videotoolbox", "hevc_videotoolbox"]


def stage_named(name: str) -> Stage | None:
    """The stage of this name, or `None`."""
    return next((stage for stage in STAGES if stage == name), None)
