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
#: Of each model, the word before its presets, those that differ in time or memory, and lengths of about 5 and 20 s.
ASKED: dict[Variant, tuple[str, tuple[str, ...], tuple[int, ...]]] = {
    "bidirectional": ("", ("draft", "fast", "standard", "author-defaults"), (81, 321)),
    "streaming": ("streaming ", ("draft", "standard"), (73, 313)),
}


@dataclass(frozen=True)
class Mode:
    """One of them.

    Attributes:
        name: For people: `standard`, `streaming draft`.
        variant: The model.
        preset: Its effort, as `--preset` takes it.
        num_frames: Of the video.
    """

    name: str
    variant: Variant
    preset: str
    num_frames: int

    @property
    def video_s(self) -> int:
        """Length of the video in whole seconds."""
        return round(self.num_frames / FPS)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"mode": self.name, "variant": self.variant, "preset": self.preset, "num_frames": self.num_frames}

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
        return Manifest.model_validate(data)


MODES = tuple(
    Mode(word + preset, variant, preset, num_frames)
    for variant, (word, presets, lengths) in ASKED.items()
    for preset in presets
    for num_frames in lengths
)


def plan_modes(macs: Sequence[Mac]) -> dict[Mode, list[MacPlan]]:
    """Plan every mode on Macs of the table, by the released model's sizes."""
    return {mode: plan_on_macs(mode.manifest(), macs) for mode in MODES}
