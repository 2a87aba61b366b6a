"""What a released model is: how it was taught, which lengths it makes, which fields of a manifest are another's.

One record each; an engine for it stands in `sana_wm.backends`. Nobody compares a variant's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from sana_wm.errors import Problem
from sana_wm.names import LayoutName, Variant
from sana_wm.sizes import FRAMES_PER_LATENT

if TYPE_CHECKING:
    from sana_wm.manifest.model import Manifest

#: Latent frames that the student makes together.
CHUNK_FRAMES = 3


@dataclass(frozen=True)
class ReleasedModel:
    """One released model.

    Attributes:
        variant: As `model.variant` says it.
        title: What it is, in words.
        frames_step: Its videos have one frame more than a multiple of this.
        least_frames: The shortest.
        taught: Fields of a manifest that its training fixed, and their value: their default, and nothing else.
        unread: Fields of a manifest that are of another model: they stay at their default.
        can_grow: Whether a finished video can be gone on with.
        layout: The weights to download where nobody names others: docs/weights.md says why.
    """

    variant: Variant
    title: str
    frames_step: int = FRAMES_PER_LATENT
    least_frames: int = FRAMES_PER_LATENT + 1
    taught: Mapping[str, Any] = field(default_factory=dict[str, Any])
    unread: tuple[str, ...] = ()
    can_grow: bool = False
    layout: LayoutName = "original"

    def num_frames_near(self, num_frames: int) -> tuple[int, ...]:
        """The lengths next to one that it may not make, the nearest first."""
        steps = max(0, num_frames - self.least_frames) // self.frames_step
        around = {self.least_frames + self.frames_step * count for count in (steps, steps + 1)}
        return tuple(sorted(around, key=lambda length: (abs(length - num_frames), -length)))

    @property
    def is_unguided(self) -> bool:
        """Whether it was taught to do without classifier-free guidance."""
        return self.taught.get("stage1.guidance_scale") == 1

    def refuse(self, manifest: Manifest) -> list[Problem]:
        """What a manifest asks of this model that it was not taught."""
        return [*self._refuse_length(manifest.video.num_frames), *self._refuse_fields(manifest)]

    def _refuse_length(self, num_frames: int) -> list[Problem]:
        near = self.num_frames_near(num_frames)
        if num_frames in near or self.frames_step == FRAMES_PER_LATENT:  # every model's; the camera path says more
            return []
        return [
            Problem(
                "video.num_frames",
                f"num_frames must be {self.frames_step}k + 1, at least {self.least_frames}, for the {self.title}",
                got=str(num_frames),
                expected=" or ".join(map(str, near)),
                next_step=f"Set num_frames to {near[0]}.",
            )
        ]

    def _refuse_fields(self, manifest: Manifest) -> list[Problem]:
        problems: list[Problem] = []
        for name in (*self.taught, *self.unread):
            value, default = _value(manifest, name), _default(manifest, name)
            wanted = self.taught.get(name, default)
            if value == wanted:
                continue
            key = name.partition(".")[2]
            what = f"{key} is no field of the {self.title}"
            if name in self.taught:
                what = f"{key} must be {wanted} with the {self.title}: it was taught so"
            step = "Leave it out, or choose another model.variant."
            problems.append(Problem(name, what, got=repr(value), next_step=step))
        return problems


def _value(manifest: Manifest, name: str) -> Any:
    section, _, key = name.partition(".")
    return getattr(getattr(manifest, section), key)


def _default(manifest: Manifest, name: str) -> Any:
    section, _, key = name.partition(".")
    return type(getattr(manifest, section)).model_fields[key].default


BIDIRECTIONAL = ReleasedModel(
    variant="bidirectional",
    title="bidirectional model",
    unread=("input.continues", "stage1.chunk_noise", "stage1.streaming_version", "stage1.keep_state"),
    layout="diffusers",
)
STREAMING = ReleasedModel(
    variant="streaming",
    title="streaming model",
    frames_step=FRAMES_PER_LATENT * CHUNK_FRAMES,
    least_frames=2 * FRAMES_PER_LATENT * CHUNK_FRAMES + 1,
    taught={"stage1.num_inference_steps": 4, "stage1.guidance_scale": 1.0},
    unread=(
        *("input.negative_prompt", "stage1.guidance_until", "stage1.flow_shift", "stage1.camera_rescale"),
        "stage1.checkpoint_every",
    ),
    can_grow=True,
)
MODELS: dict[Variant, ReleasedModel] = {one.variant: one for one in (BIDIRECTIONAL, STREAMING)}


def fill_taught(data: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's JSON with what its model was taught where it says nothing; wrong sections stay as they are."""
    section = data.get("model")
    variant: object = cast("Mapping[str, Any]", section).get("variant") if isinstance(section, dict) else None
    model = MODELS.get(cast("Variant", variant)) if isinstance(variant, str) else None
    filled = dict(data)
    for name, value in (model.taught if model is not None else {}).items():
        part, _, key = name.partition(".")
        given = filled.get(part, {})
        if isinstance(given, dict):
            filled[part] = {key: value, **cast("dict[str, Any]", given)}
    return filled
