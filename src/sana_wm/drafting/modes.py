"""The ways to make a video that somebody asks a Mac about: every preset of each model, a short and a long one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sana_wm.drafting.presets import apply_preset
from sana_wm.manifest.model import Manifest
from sana_wm.names import Variant
from sana_wm.planning.mac_plan import MacPlan, plan_on_macs
from sana_wm.planning.macs import Mac

FPS = 16
#: What a preset's name follows, by model.
SPOKEN: dict[Variant, str] = {"bidirectional": "", "streaming": "streaming "}
#: Of each model the lengths of about 5 and 20 s, and the presets that differ in time or memory, each without the
#: refiner, with it or both; what a draft is without.
ASKED: dict[Variant, tuple[tuple[int, ...], dict[str, tuple[bool, ...]]]] = {
    "bidirectional": (
        (81, 321),
        {"draft": (False,), "fast": (False, True), "standard": (False, True), "author-defaults": (False, True)},
    ),
    "streaming": ((73, 313), {"draft": (False,), "standard": (True,)}),
}


@dataclass(frozen=True)
class Mode:
    """One of them.

    Attributes:
        variant: The model.
        preset: Its effort, as `--preset` takes it.
        refine: Whether the refiner works on it; `--no-refine` leaves it out.
        num_frames: Of the video.
    """

    variant: Variant
    preset: str
    refine: bool
    num_frames: int

    @property
    def name(self) -> str:
        """For people: `standard`, `streaming draft`."""
        return f"{SPOKEN[self.variant]}{self.preset}"

    @property
    def video_s(self) -> int:
        """Length of the video in whole seconds."""
        return round(self.num_frames / FPS)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "mode": self.name,
            "variant": self.variant,
            "preset": self.preset,
            "refine": self.refine,
            "num_frames": self.num_frames,
        }

    def manifest(self) -> Manifest:
        """A run of it, with inputs that need not be there: neither memory nor time depends on them."""
        data: dict[str, Any] = {
            "version": 1,
            "name": self.name,
            "model": {"layout": "diffusers", "root": "weights", "variant": self.variant},
            "input": {"image": "picture.png", "prompt": "A road."},
            "camera": {"action": f"w-{self.num_frames}", "intrinsics": (900.0, 900.0, 640.0, 352.0)},
            "video": {"num_frames": self.num_frames, "fps": FPS},
            "output_dir": "runs/plan",
        }
        apply_preset(data, self.preset, self.variant)
        data["refiner"]["enabled"] = self.refine
        return Manifest.model_validate(data)


MODES = tuple(
    Mode(variant, preset, refine, num_frames)
    for variant, (lengths, presets) in ASKED.items()
    for preset, with_refiner in presets.items()
    for refine in with_refiner
    for num_frames in lengths
)


def plan_modes(macs: Sequence[Mac]) -> dict[Mode, list[MacPlan]]:
    """Plan every mode on Macs of the table, by the released model's sizes."""
    return {mode: plan_on_macs(mode.manifest(), macs) for mode in MODES}
