"""What a user asks of a video; what is not said is decided by whoever takes the request. Imports next to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sana_wm.errors import UsageError
from sana_wm.names import CropWord, DialectName, Variant

#: Of these at most one is said: each pair says one thing twice.
EXCLUSIVE = (
    ("prompt", "prompt_file"),
    ("move", "action"),
    ("move", "poses"),
    ("move", "dialect"),
    ("action", "poses"),
    ("dialect", "poses"),
    ("intrinsics", "fov_deg"),
)


@dataclass(frozen=True)
class VideoRequest:
    """Each is `None` where nothing is said; the option is named like the attribute, `--prompt-file`.

    Attributes:
        image: First frame.
        prompt: What the video shows.
        prompt_file: Text file with it.
        negative_prompt: What it shall not show.
        move: Named moves of the camera.
        action: Action string.
        dialect: Of the action.
        poses: Poses file.
        seconds: Length of the video.
        size: Its width and height in pixels.
        crop: Which part of the picture it shows.
        preset: How much effort goes into it; a name in `sana_wm.drafting.presets.PRESETS`.
        variant: Which released model.
        seed: Of Stage 1's noise.
        refiner_seed: Of the refiner's.
        refine: Whether the refiner runs.
        intrinsics: fx, fy, cx, cy in pixels of the picture, or a `.npy`.
        fov_deg: What the picture shows from left to right.
        model_root: Folder of the SANA-WM weights.
        gemma_root: Folder of gemma-2-2b-it.
        refiner_root: Folder of the refiner.
        depth_pro_root: Folder of Depth Pro.
        overlay: Whether keys and joystick are drawn.
        frames_dir: Folder for the frames as PNG, too.
        cap_gib: `memory.cap_gib`.
        out: Run directory.
    """

    image: Path | None = None
    prompt: str | None = None
    prompt_file: Path | None = None
    negative_prompt: str | None = None
    move: str | None = None
    action: str | None = None
    dialect: DialectName | None = None
    poses: Path | None = None
    seconds: float | None = None
    size: tuple[int, int] | None = None
    crop: CropWord | tuple[float, float] | None = None
    preset: str | None = None
    variant: Variant | None = None
    seed: int | None = None
    refiner_seed: int | None = None
    refine: bool | None = None
    intrinsics: tuple[float, ...] | Path | None = None
    fov_deg: float | None = None
    model_root: Path | None = None
    gemma_root: Path | None = None
    refiner_root: Path | None = None
    depth_pro_root: Path | None = None
    overlay: bool | None = None
    frames_dir: Path | None = None
    cap_gib: float | None = None
    out: Path | None = None

    @property
    def roots(self) -> Mapping[str, Path]:
        """The weight folders that were said, by the manifest's field."""
        given = {
            "root": self.model_root,
            "gemma_root": self.gemma_root,
            "refiner_root": self.refiner_root,
            "depth_pro_root": self.depth_pro_root,
        }
        return {name: path for name, path in given.items() if path is not None}

    @property
    def says_way(self) -> bool:
        """Whether they say where the camera goes."""
        return not (self.move is None and self.action is None and self.poses is None)

    @property
    def says_lens(self) -> bool:
        """Whether they say what the picture was taken with."""
        return not (self.intrinsics is None and self.fov_deg is None)

    def refuse_contradictions(self) -> None:
        """Refuse what says one thing twice, and a prompt that says nothing.

        Raises:
            UsageError: Names the options.
        """
        for first, second in EXCLUSIVE:
            if getattr(self, first) is not None and getattr(self, second) is not None:
                raise UsageError(f"{option(first)} and {option(second)} exclude each other", expected="one of them")
        if self.prompt is not None and not self.prompt.strip():
            raise UsageError("no prompt is given", got="nothing but space", expected="--prompt TEXT")


def option(name: str) -> str:
    """The option of an attribute: `--prompt-file`."""
    return f"--{name.replace('_', '-')}"
