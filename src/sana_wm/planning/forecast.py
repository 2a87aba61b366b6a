"""What each phase of a run will take, before anything is loaded: the engines' own rules on headers and configs.

Stages choose by the same functions, so that what was promised is what runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from sana_wm.backends import backend_of, load_part
from sana_wm.names import STAGES, Stage
from sana_wm.pipeline import PIPELINE, active_stages
from sana_wm.planning.phase import PhasePlanning, PlannedRun, Planner


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
        return {
            (stage, phase): self.planner(stage, phase)
            for stage in STAGES
            if stage in active
            for phase in PIPELINE[stage].phases
        }

    def planner(self, stage: Stage, phase: str) -> Planner:
        """How one phase is planned.

        Raises:
            WeightsError: A header or config cannot be read.
        """
        planning = PIPELINE[stage].phases[phase]
        by_engine = getattr(backend_of(self.manifest), planning, None)
        plan: PhasePlanning = load_part(by_engine or planning)
        return plan(self)
