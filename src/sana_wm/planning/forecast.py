"""What each phase of a run will take, before anything is loaded: the engines' own rules on headers and configs.

Stages choose by the same functions, so that what was promised is what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sana_wm.backends import backend_of, load_part
from sana_wm.names import STAGES, Stage
from sana_wm.pipeline import active_stages
from sana_wm.planning.forecasts import refiner, stage1, vae_decode
from sana_wm.planning.phase import PhasePlanning, PlannedRun, Planner

#: How each phase is planned, by stage and phase, in the order in which they run.
PHASES: Mapping[tuple[Stage, str], PhasePlanning] = {
    ("stage1", "text_encoder"): stage1.plan_text_encoder,
    ("stage1", "vae_encoder"): stage1.plan_vae_encoder,
    ("stage1", "transformer"): lambda run: load_part(backend_of(run.manifest).plan_stage1)(run),
    ("refiner", "text_encoder"): refiner.plan_text_encoder,
    ("refiner", "connectors"): refiner.plan_connectors,
    ("refiner", "transformer"): lambda run: load_part(backend_of(run.manifest).plan_refiner)(run),
    ("vae_decode", "vae_decoder"): vae_decode.plan_vae_decoder,
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
        active = set(active_stages(self.manifest)) & set(self.stages)
        return {(stage, phase): self.planner(stage, phase) for stage, phase in PHASES if stage in active}

    def planner(self, stage: Stage, phase: str) -> Planner:
        """How one phase is planned.

        Raises:
            WeightsError: A header or config cannot be read.
        """
        return PHASES[stage, phase](self)
