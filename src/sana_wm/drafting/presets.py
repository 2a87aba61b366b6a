"""How much effort goes into a video, by name: one table. Imports next to nothing, so that a command can complete it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sana_wm.errors import UsageError, did_you_mean
from sana_wm.names import Variant
from sana_wm.variants import MODELS

Json = dict[str, Any]


@dataclass(frozen=True)
class Preset:
    """One of them. It says nothing of the camera path or of the video's length, which is the path's.

    Attributes:
        question: That a run of it answers.
        settings: Fields of a manifest, by variant; a model that is missing has no such preset. All presets of a model
            name the same fields, so that one takes another's place without a rest of it.
    """

    question: str
    settings: Mapping[Variant, Mapping[str, Any]]


def _steps(count: int, *, guidance_until: float = 1.0) -> Mapping[str, Any]:
    """The bidirectional model with its refiner."""
    return {
        "stage1.num_inference_steps": count,
        "stage1.guidance_until": guidance_until,
        "stage1.checkpoint_every": 5,
        "stage1.preview_every": 10,
        "refiner.enabled": True,
    }


def _chunks(*, refine: bool = True, noise: str = "chunk") -> Mapping[str, Any]:
    """The streaming model, whose steps and guidance are what it was taught."""
    return {"stage1.chunk_noise": noise, "stage1.preview_every": 1, "refiner.enabled": refine}


#: The first is what is taken where none is named.
PRESETS: Mapping[str, Preset] = {
    "draft": Preset(
        "does the whole path show what I mean?",
        {
            "bidirectional": {
                **_steps(4),
                "stage1.checkpoint_every": 1,
                "stage1.preview_every": 1,
                "refiner.enabled": False,
            },
            "streaming": _chunks(refine=False),
        },
    ),
    "fast": Preset("is it good enough at half the passes?", {"bidirectional": _steps(40, guidance_until=0.5)}),
    "standard": Preset("is this the video?", {"bidirectional": _steps(40), "streaming": _chunks()}),
    "author-defaults": Preset(
        "what do NVIDIA's own settings make of it?", {"bidirectional": _steps(60), "streaming": _chunks(noise="clip")}
    ),
}
DEFAULT_PRESET = "draft"


def preset_settings(name: str, variant: Variant) -> Mapping[str, Any]:
    """The fields that a preset sets for a model: `{"stage1.num_inference_steps": 4, …}`.

    Raises:
        UsageError: There is none of that name, or none of that model.
    """
    of_model = [one for one, preset in PRESETS.items() if variant in preset.settings]
    if name not in PRESETS:
        raise UsageError(
            "--preset names none",
            got=repr(name),
            expected=", ".join(of_model),
            next_step=did_you_mean(name, of_model),
        )
    if name not in of_model:
        raise UsageError(
            f"there is no preset {name} of the {MODELS[variant].title}: its steps and guidance are what it was taught",
            expected=", ".join(of_model),
            next_step="Choose one of them, or another --variant.",
        )
    return PRESETS[name].settings[variant]


def apply_preset(data: Json, name: str, variant: Variant) -> None:
    """Set a preset's fields in a manifest, in the place of all that any other preset sets, of whichever model.

    Args:
        data: A manifest as its file holds it; it is changed.
        name: Of the preset.
        variant: That the manifest names, or shall name.

    Raises:
        UsageError: As of `preset_settings`.
    """
    settings = preset_settings(name, variant)
    others = {field for preset in PRESETS.values() for fields in preset.settings.values() for field in fields}
    for field in others - settings.keys():
        section, _, key = field.partition(".")
        data.get(section, {}).pop(key, None)
    for field, value in settings.items():
        section, _, key = field.partition(".")
        data.setdefault(section, {})[key] = value
