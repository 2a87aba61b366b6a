"""The refiner: text encoder, connectors, transformer; one after another."""

from __future__ import annotations

import contextlib
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch

from sana_wm.backends import load_part
from sana_wm.models.engine import Refiner
from sana_wm.models.loading import load_connectors, load_gemma3, load_tokenizer
from sana_wm.models.refiner.loading import stream_gemma3
from sana_wm.models.refiner.state import RefinerState
from sana_wm.models.refiner.text import PromptEncoding, connect, encode_levels, tokenize_prompt
from sana_wm.planning.forecasts.refiner import ask_refinement
from sana_wm.planning.refiner import SIGMAS
from sana_wm.runs.events import PlanShrunk, now_s
from sana_wm.runs.links import require_inputs
from sana_wm.runtime.checkpoints import Checkpoints
from sana_wm.runtime.latents import load_if_ours, save_tensors
from sana_wm.runtime.phases import Phase
from sana_wm.runtime.sentinels import check_latents
from sana_wm.stages.context import StageContext
from sana_wm.stages.earlier_refined import earlier_state
from sana_wm.weights.quantizing import quantize_layout


def run(context: StageContext) -> None:
    """Refine the Stage 1 latents and leave `latents/refined.safetensors` with its receipt."""
    require_inputs(context.manifest, "refiner")
    latents = context.load_latents()
    context.begin()
    if context.manifest.model.weights == "int8":
        # Made of the stored files, which the receipt names; what was made before is looked for by their identity.
        context = replace(context, layout=quantize_layout(context.layout, _log))
    encoding = _encode_prompt(context)
    with context.phases.phase("transformer", context.engine_memory) as phase:
        refined, plan = _refine(context, phase, latents, encoding)
    context.save_latents(refined)
    context.finish(
        outputs=(context.run.refiner_text_file, context.run.refined_file),
        plan=plan,
    )


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _encode_prompt(context: StageContext) -> PromptEncoding:
    """The prompt as the transformer reads it; from the run directory when it is there."""
    owner = context.kept("text")
    if tensors := load_if_ours(context.run.refiner_text_file, owner):
        return PromptEncoding(tensors["prompt_embeds"], tensors["prompt_attention_mask"])
    with context.phases.phase("text_encoder") as phase:
        packed, attention_mask = _encode_text(context, phase)
    with context.phases.phase("connectors") as phase:
        encoding = _connect(context, phase, packed, attention_mask)
    save_tensors(
        context.run.refiner_text_file,
        {"prompt_embeds": encoding.prompt_embeds, "prompt_attention_mask": encoding.prompt_attention_mask},
        owner | context.parts_kept(),
    )
    context.stop.check()
    return encoding


def _encode_text(context: StageContext, phase: Phase) -> tuple[torch.Tensor, torch.Tensor]:
    """Gemma-3's packed hidden states and the attention mask, from resident or streamed weights: the same bits."""
    component = context.layout.refiner_text_encoder
    tokenizer = load_tokenizer(context.layout.refiner_tokenizer)
    input_ids, attention_mask = tokenize_prompt(tokenizer, context.manifest.input.prompt)
    plan = context.forecaster.planner("refiner", "text_encoder")(context.budget_bytes).plan
    with contextlib.ExitStack() as stack:
        if plan["mode"] == "resident":
            text_encoder = load_gemma3(context.layout, context.device, context.dtype)
        else:
            text_encoder = stack.enter_context(stream_gemma3(component, device=context.device, dtype=context.dtype))
        phase.hold(text_encoder)
        return encode_levels(text_encoder, input_ids, attention_mask, context.device), attention_mask


def _connect(context: StageContext, phase: Phase, packed: torch.Tensor, attention_mask: torch.Tensor) -> PromptEncoding:
    connectors = phase.hold(load_connectors(context.layout, context.device, context.dtype))
    return connect(connectors, packed, attention_mask)


def _refine(
    context: StageContext, phase: Phase, latents: torch.Tensor, encoding: PromptEncoding
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Refine; when less memory is asked for, go on from the last block with fewer blocks of weights on the device."""
    plan = dict(context.forecaster.planner("refiner", "transformer")(context.budget_bytes).plan)
    progress = _Progress(context, context.checkpoints(), earlier_state(context, latents))
    while True:
        progress.can_shrink = plan["resident_blocks"] > 0 and context.backend.can_shrink
        try:
            refined = _refine_with(context, phase, latents, encoding, plan["resident_blocks"], progress)
        except _ShrinkAskedError:
            # Half of what stays, so that a few requests suffice; the results do not depend on it.
            plan |= {"mode": "streamed", "resident_blocks": plan["resident_blocks"] // 2}
            plan["reason"] = "less memory was asked for while it ran"
            context.events.emit(PlanShrunk(time_s=now_s(), plan=dict(plan)))
            continue
        progress.checkpoints.wait()
        if progress.earlier is not None:
            plan["earlier_blocks"] = progress.earlier.next_block
        return refined, {"refiner_mode": context.manifest.refiner.mode, **plan}


def _refine_with(
    context: StageContext,
    phase: Phase,
    latents: torch.Tensor,
    encoding: PromptEncoding,
    resident_blocks: int,
    progress: _Progress,
) -> torch.Tensor:
    opening: AbstractContextManager[Refiner] = load_part(context.backend.open_refiner)(
        context.engine_setup(phase), resident_blocks
    )
    prompt = (encoding.prompt_embeds, encoding.prompt_attention_mask)
    with opening as refiner:
        return torch.from_numpy(refiner.refine(latents.numpy(), prompt, progress.save, progress.resume_state()))


class _ShrinkAskedError(Exception):
    """Less memory was asked for, and what was done is saved."""


class _Progress:
    """Saves and reports after every block (or step), and leaves or starts over with less when asked to."""

    def __init__(self, context: StageContext, checkpoints: Checkpoints, earlier: RefinerState | None) -> None:
        self.context, self.checkpoints, self.earlier = context, checkpoints, earlier
        asked = ask_refinement(context.forecaster)
        self.total = len(SIGMAS) - 1 if asked.mode == "single_shot" else asked.blocks
        self.can_shrink = False
        self.reported = 0

    def resume_state(self) -> RefinerState | None:
        """Where an earlier start of this run got to, or the run that it goes on from."""
        newest = self.checkpoints.load_newest()
        state = self.earlier if newest is None else RefinerState.from_tensors(newest[1])
        done = 0 if state is None else state.next_block
        # With fewer weights on the device it goes on from what it has done itself.
        self.context.begin_steps(done, self.total, by_earlier_start=newest is not None and done > self.reported)
        return state

    def save(self, state: RefinerState) -> None:
        """Check, save, report; then leave if asked to."""
        context = self.context
        context.engine_memory.synchronize()
        context.phases.faults.check()
        where = f"refiner step {state.next_block} of {self.total}"
        evidence, go_on = context.run.evidence_file("refiner"), context.run.resume_command
        check_latents(state.latents, context.manifest.sanity, where=where, evidence=evidence, go_on=go_on)
        self.checkpoints.save(state.next_block, state.to_tensors())
        self.reported = state.next_block
        context.report_step(state.next_block, self.total)
        if context.stop.reason is not None:
            self.checkpoints.wait()
        context.stop.check()
        if context.take_less() and self.can_shrink and state.next_block < self.total:
            self.checkpoints.wait()
            raise _ShrinkAskedError
