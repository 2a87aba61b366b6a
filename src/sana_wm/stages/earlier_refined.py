"""What a finished run refined, for the refiner of the run that goes on from it: the same blocks need no second pass."""

from __future__ import annotations

import torch
from torch import Tensor

from sana_wm.errors import HandoffError
from sana_wm.models.refiner.state import RefinerState
from sana_wm.runs.earlier import earlier_run
from sana_wm.runs.links import damaged_outputs
from sana_wm.runs.receipts import changed_fields, read_receipt, stage_settings
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runtime.latents import load_tensors
from sana_wm.stages.context import StageContext
from sana_wm.stages.earlier_run import has_one_prompt

#: What a longer run may have otherwise, and refines the earlier frames alike.
MAY_DIFFER = ("input.continues", "input.prompt")


def earlier_state(context: StageContext, latents: Tensor) -> RefinerState | None:
    """The state after the earlier run's blocks; `None` where they are to be refined again.

    They are where the earlier run was refined from these very latents, by the same settings, weights, chip and
    libraries, and ended with a whole block. The prompt may be another: what was shown stays as it was.

    Args:
        context: Of the refiner.
        latents: (1, C, F, h, w) Stage 1 latents of the whole video.

    Raises:
        HandoffError: They would be refined again under a prompt that is not theirs.
    """
    run = earlier_run(context.manifest)
    if run is None:
        return None
    try:
        refined = _load_refined(context, run, latents)
    except HandoffError as error:
        _refuse_other_prompt(context, run, error)
        return None
    settings = context.manifest.refiner
    blocks = (refined.shape[2] - settings.sink_size) // settings.block_size
    generator = torch.Generator("cpu").manual_seed(settings.seed)
    for _ in range(blocks):  # each block drew once
        torch.randn((*refined.shape[:2], settings.block_size, *refined.shape[3:]), generator=generator)
    whole = torch.cat([refined, latents[:, :, refined.shape[2] :]], dim=2)
    return RefinerState(whole, blocks, generator.get_state())


def _refuse_other_prompt(context: StageContext, run: RunDirectory, why: HandoffError) -> None:
    if has_one_prompt(load_tensors(context.run.conditioning_file, {"part": "conditioning"})):
        return
    raise HandoffError(
        f"the frames of {run.path} would be refined again under another prompt: {why.what}",
        got=why.got,
        expected=why.expected,
        next_step=f"Refine it again ({run.resume_command} --from refiner), then extend it again.",
    )


def _load_refined(context: StageContext, run: RunDirectory, latents: Tensor) -> Tensor:
    """What the earlier run left, if this one would have made the same.

    Raises:
        HandoffError: It would not, or a file of it is missing or damaged.
    """
    receipt = read_receipt(run, context.stage)
    if receipt is None:
        raise HandoffError("its refiner is not finished", got="no receipt")
    if findings := damaged_outputs(run, receipt):
        raise HandoffError("what it refined is not whole", got="; ".join(findings))
    unrefined = load_tensors(run.stage1_file, {})["latents"]
    if not torch.equal(unrefined, latents[:, :, : unrefined.shape[2]]):
        raise HandoffError("it was refined from other latents")
    settings = stage_settings(context.manifest, context.stage)
    now = {name: value for name, value in settings.items() if not any(one in name for one in MAY_DIFFER)}
    if changes := changed_fields({name: receipt.settings.get(name) for name in now}, now):
        raise HandoffError("it was refined under other settings", got="; ".join(changes))
    here = (context.weights, str(context.device), str(context.dtype).removeprefix("torch."))
    if (receipt.weights, receipt.device, receipt.dtype) != here:
        raise HandoffError("it was refined with other weights, or on another device")
    if changed := {**context.versions(), **receipt.versions}.items() - context.versions().items():
        names = ", ".join(f"{name} {version}" for name, version in sorted(changed))
        raise HandoffError("it was refined by other libraries", got=names)
    refined = load_tensors(run.refined_file, {"stage": context.stage})["latents"]
    if (refined.shape[2] - context.manifest.refiner.sink_size) % context.manifest.refiner.block_size:
        raise HandoffError("it ends within a block of the refiner", got=f"{refined.shape[2]} latent frames")
    return refined
