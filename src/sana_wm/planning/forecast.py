"""What each phase of a run will take, before anything is loaded: the engines' own rules on headers and configs.

Stages choose by the same functions, so that what was promised is what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sana_wm.names import STAGES, Stage
from sana_wm.planning.forecasts import pr379, refiner, stage1, vae_decode
from sana_wm.planning.phase import PhasePlanning, PlannedRun, Planner

#: How each phase is planned, by stage and phase, in the order in which they run.
PHASES: Mapping[tuple[Stage, str], PhasePlanning] = {
    ("stage1", "text_encoder"): stage1.plan_text_encoder,
    ("stage1", "vae_encoder"): stage1.plan_vae_encoder,
    ("stage1", "transformer"): stage1.plan_transformer,
    ("refiner", "text_encoder"): refiner.plan_text_encoder,
    ("refiner", "connectors"): refiner.plan_connectors,
    ("refiner", "transformer"): refiner.plan_transformer,
    ("vae_decode", "vae_decoder"): vae_decode.plan_vae_decoder,
}
#: What a backend plans by rules of its own.
BACKEND_PHASES: Mapping[str, Mapping[tuple[Stage, str], PhasePlanning]] = {
    "diffusers": {},
    "pr379": {
        ("stage1", "transformer"): pr379.plan_stage1_transformer,
        ("refiner", "transformer"): pr379.plan_refiner_transformer,
    },
}


@dataclass(frozen=True)
class RunForecaster(PlannedRun):
    """Forecasts the phases of a manifest on a device.

    Args:
        manifest: What shall run.
        layout: Where its weights lie; headers and configs are read, weights are not.
        device: Where it shall run.
        stages: Whose phases are planned. Files of the others are not read and need not be there.
    """

    stages: tuple[Stage, ...] = STAGES

    def planners(self) -> dict[tuple[Stage, str], Planner]:
        """How each phase is planned, by stage and phase, in the order in which they run.

        Raises:
            WeightsError: A header or config cannot be read.
        """
        off = () if self.manifest.refiner.enabled else ("refiner",)
        return {
            (stage, phase): self.planner(stage, phase)
            for stage, phase in PHASES
            if stage in self.stages and stage not in off
        }

    def planner(self, stage: Stage, phase: str) -> Planner:
        """How one phase is planned by the manifest's backend.

        Raises:
            WeightsError: A header or config cannot be read.
        """
        of_backend = BACKEND_PHASES[self.manifest.model.backend]
        return of_backend.get((stage, phase), PHASES[stage, phase])(self)
