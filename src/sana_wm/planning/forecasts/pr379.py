"""The phases that NVIDIA's own code computes (backend `pr379`): resident, or not at all."""

from __future__ import annotations

import math
from dataclasses import replace

from sana_wm.manifest.guidance import step_passes
from sana_wm.planning.forecasts.refiner import measure_transformer
from sana_wm.planning.phase import PhaseForecast, PlannedRun, Planner
from sana_wm.planning.pr379 import upstream_refiner_work_bytes, upstream_stage1_work_bytes
from sana_wm.planning.stage1 import step_tflop


def plan_stage1_transformer(run: PlannedRun) -> Planner:
    """All steps, one prompt at a time."""
    sizes, weights = run.network(run.layout.transformer)
    work_bytes = upstream_stage1_work_bytes(math.prod(run.grid), sizes["hidden_size"], run.element_bytes)
    tflop = step_tflop(sizes, run.grid, sum(step_passes(run.manifest.stage1)))
    return run.resident("stage1", "transformer", weights, work_bytes, tflop)


def plan_refiner_transformer(run: PlannedRun) -> Planner:
    """One pass over all frames a step."""
    sizes, weights = run.network(run.layout.refiner_transformer)
    measured, tflop = measure_transformer(run, sizes, weights)
    width = sizes["num_attention_heads"] * sizes["attention_head_dim"]
    work_bytes = upstream_refiner_work_bytes(math.prod(run.grid), width, run.element_bytes)
    resident = run.resident("refiner", "transformer", weights, work_bytes, tflop)

    def plan(budget: int) -> PhaseForecast:
        return replace(resident(budget), plan={"mode": "resident", "resident_blocks": measured.blocks})

    return plan
