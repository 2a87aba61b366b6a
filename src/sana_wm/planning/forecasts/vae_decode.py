"""The phase of a decode: that of the video, and that of its preview."""

from __future__ import annotations

from sana_wm.names import Stage
from sana_wm.planning.decode import complete_config, decode_tflop, plan_decode_on
from sana_wm.planning.phase import PhaseForecast, PlannedRun, Planner
from sana_wm.weights.component_config import read_config
from sana_wm.weights.stored import read_stored_weights


def plan_vae_decoder(run: PlannedRun) -> Planner:
    """The streaming decoder, in the largest steps that fit the budget."""
    return _plan_decoder(run, "vae_decode")


def plan_preview_decoder(run: PlannedRun) -> Planner:
    """The same, of the latents that Stage 1 leaves."""
    return _plan_decoder(run, "preview")


def _plan_decoder(run: PlannedRun, stage: Stage) -> Planner:
    config = complete_config(read_config(run.layout.vae))
    weights = read_stored_weights(run.layout.vae).part(lambda name: name.startswith("decoder."))
    tflop = decode_tflop(config, run.latent_shape)

    def plan(budget: int) -> PhaseForecast:
        chosen = plan_decode_on(run.device.kind, config, run.latent_shape, run.element_bytes, budget)
        return PhaseForecast(
            stage=stage,
            phase="vae_decoder",
            mode=f"streaming, at most {chosen.steps[-1]} frames at a time",
            weights_bytes=chosen.weights_bytes,
            work_bytes=chosen.predicted_bytes - chosen.weights_bytes,
            host_bytes=0,
            read_bytes=weights.stored_bytes,
            parameters=weights.elements,
            tflop=tflop,
            plan=chosen.as_json(),
        )

    return plan
