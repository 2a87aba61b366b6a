"""What an engine is: whose code runs Stage 1 and the refiner, what it can do, and where its parts are found.

A manifest that asks an engine for more is refused by name, before anything is loaded. Everything that loads something
is named as text (`module:function`), so that a manifest can be judged without torch, and an engine without torch can
stand beside the others. Nobody else compares a backend's or a variant's name.

Another package adds an engine by an entry point of the group `sana_wm.backends` that names a `Backend`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from sana_wm.errors import Problem
from sana_wm.names import (
    LAYOUTS,
    REFINER_MODES,
    WEIGHT_BITS,
    CameraRescale,
    LayoutName,
    RefinerMode,
    Variant,
    WeightBits,
)

if TYPE_CHECKING:
    from sana_wm.manifest.model import Manifest

GROUP = "sana_wm.backends"


@dataclass(frozen=True)
class Backend:
    """One engine for one variant of the model.

    Attributes:
        name: As `model.backend` says it.
        variant: As `model.variant` says it.
        open_stage1: Opens Stage 1 for an `EngineSetup`: what `sample_stage1` runs.
        open_refiner: Opens the refiner: a `sana_wm.models.engine.Refiner`, in a context that releases it.
        plan_stage1: Plans Stage 1's transformer: a `sana_wm.planning.phase.PhasePlanning`.
        plan_refiner: The same for the refiner's transformer.
        sample_stage1: Runs it: a `sana_wm.stages.context.Sampling`.
        memory: Answers for the device's memory while it computes: a `sana_wm.runtime.memory.EngineMemory`.
        layouts: Weight layouts that it reads.
        refiner_modes: The ways to refine that it has.
        camera_rescales: The versions of the camera branch that it computes.
        weight_bits: How it can hold the weights of the refiner and of its text encoder.
        packages: Whose versions an unfinished stage depends on.
        required_field: The field of `model` that it cannot do without, and what that holds.
        find_problems: Looks for what must be installed besides: from a manifest to problems.
        list_warnings: What runs and deserves a word: from a manifest to sentences.
        describe_code: Versions of code that is no installed package: from a manifest to names and versions.
        can_end_guidance: Whether its Stage 1 can be prepared anew with the prompt alone before any step.
        can_shrink: Whether its refiner can go on with less memory.
    """

    name: str
    variant: Variant
    open_stage1: str
    open_refiner: str
    plan_stage1: str
    plan_refiner: str
    sample_stage1: str = "sana_wm.stages.whole_clip:sample"
    memory: str = "sana_wm.runtime.memory:TorchMemory"
    layouts: tuple[LayoutName, ...] = LAYOUTS
    refiner_modes: tuple[RefinerMode, ...] = REFINER_MODES
    camera_rescales: tuple[CameraRescale, ...] = ("pr379", "diffusers", "none")
    weight_bits: tuple[WeightBits, ...] = WEIGHT_BITS
    packages: tuple[str, ...] = ("torch", "diffusers", "transformers")
    required_field: tuple[str, str] | None = None
    find_problems: str | None = None
    list_warnings: str | None = None
    describe_code: str | None = None
    can_end_guidance: bool = True
    can_shrink: bool = True

    def refuse(self, manifest: Manifest) -> list[Problem]:
        """What a manifest asks of this engine that it has not."""
        model = manifest.model
        problems = [
            problem
            for problem in (
                self._refuse_choice("model.layout", model.layout, self.layouts),
                self._refuse_choice("refiner.mode", manifest.refiner.mode, self.refiner_modes)
                if manifest.refiner.enabled
                else None,
                self._refuse_choice("model.weights", model.weights, self.weight_bits),
                self._refuse_choice("stage1.camera_rescale", manifest.stage1.camera_rescale, self.camera_rescales),
            )
            if problem is not None
        ]
        if manifest.stage1.guidance_until != 1 and not self.can_end_guidance:
            problems.append(
                Problem(
                    "stage1.guidance_until",
                    f"guidance_until must be 1 with backend {self.name}: it cannot end guidance before the last step",
                    got=str(manifest.stage1.guidance_until),
                    next_step="Leave it out, or choose another model.backend.",
                )
            )
        if self.required_field is not None and getattr(model, self.required_field[0]) is None:
            field, what = self.required_field
            problems.append(
                Problem(
                    f"model.{field}",
                    f"{field} is needed with backend {self.name}",
                    got="none",
                    expected=what,
                    next_step="Add it.",
                )
            )
        return problems

    def _refuse_choice(self, field: str, value: str, offered: Sequence[str]) -> Problem | None:
        if value in offered:
            return None
        choices = " or ".join(f'"{one}"' for one in offered)
        return Problem(
            field,
            f"{field} must be {choices} with backend {self.name}: it has no other",
            got=f'"{value}"',
            next_step="Change it, or choose another model.backend.",
        )


DIFFUSERS = Backend(
    name="diffusers",
    variant="bidirectional",
    open_stage1="sana_wm.models.stage1.opening:open_stage1",
    open_refiner="sana_wm.models.refiner.opening:open_refiner",
    plan_stage1="sana_wm.planning.forecasts.stage1:plan_transformer",
    plan_refiner="sana_wm.planning.forecasts.refiner:plan_transformer",
)
DIFFUSERS_STREAMING = Backend(
    name="diffusers",
    variant="streaming",
    open_stage1="sana_wm.models.streaming.opening:open_stage1",
    open_refiner="sana_wm.models.refiner.opening:open_refiner",
    plan_stage1="sana_wm.planning.forecasts.streaming:plan_transformer",
    plan_refiner="sana_wm.planning.forecasts.refiner:plan_transformer",
    sample_stage1="sana_wm.stages.chunk_by_chunk:sample",
    refiner_modes=("autoregressive",),
)
PR379 = Backend(
    name="pr379",
    variant="bidirectional",
    open_stage1="sana_wm.models.pr379.stage1:open_stage1",
    open_refiner="sana_wm.models.pr379.refiner:open_refiner",
    plan_stage1="sana_wm.planning.forecasts.pr379:plan_stage1_transformer",
    plan_refiner="sana_wm.planning.forecasts.pr379:plan_refiner_transformer",
    layouts=("original",),
    refiner_modes=("single_shot",),
    camera_rescales=("pr379",),
    weight_bits=("as_stored",),
    required_field=("pr_root", "a patched checkout of NVlabs/Sana (docs/pr379.md)"),
    find_problems="sana_wm.replacements.checkout:find_problems",
    list_warnings="sana_wm.replacements.checkout:list_warnings",
    describe_code="sana_wm.replacements.checkout:describe_code",
    can_shrink=False,
)
BACKENDS: dict[tuple[str, Variant], Backend] = {
    (one.name, one.variant): one for one in (DIFFUSERS, DIFFUSERS_STREAMING, PR379)
}


@cache
def find_backend(name: str, variant: Variant) -> Backend | None:
    """The engine of this name for this variant; `None` when there is none, in this package or in another."""
    if (ours := BACKENDS.get((name, variant))) is not None:
        return ours
    others: list[Backend] = [entry.load() for entry in entry_points(group=GROUP, name=name)]
    return next((one for one in others if one.variant == variant), None)


def backend_of(manifest: Manifest) -> Backend:
    """The engine of a manifest that was found free of contradictions."""
    backend = find_backend(manifest.model.backend, manifest.model.variant)
    if backend is None:
        raise LookupError(f"no backend {manifest.model.backend} for variant {manifest.model.variant}")
    return backend


def load_part(entry: str) -> Any:
    """What `module:name` names."""
    module, _, name = entry.partition(":")
    return getattr(importlib.import_module(module), name)
