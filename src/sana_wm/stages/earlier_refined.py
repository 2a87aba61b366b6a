"""What a finished run refined, for the refiner of the run that goes on from it: the same blocks need no second pass."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from sana_wm.errors import HandoffError
from sana_wm.models.refiner.state import RefinerState
from sana_wm.runs.links import damaged_outputs
from sana_wm.runs.receipts import read_receipt, stage_settings
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runtime.latents import load_tensors
from sana_wm.stages.context import StageContext

#: What a longer run may have otherwise, and refines the earlier frames alike.
MAY_DIFFER = ("input.continues", "input.prompt")


def earlier_state(context: StageContext, latents: Tensor) -> RefinerState | None:
    """The state after the earlier run's blocks; `None` where they are to be refined again.

    They are where the earlier run was refined from these very latents, by the same settings, weights, chip and
    libraries, and ended with a whole block. The prompt may be another: what was shown stays as it was.

    Args:
        context: Of the refiner.
        latents: (1, C, F, h, w) Stage 1 latents of the whole video.
    """
    source = context.manifest.input.continues
    if source is None or not Path(source).is_file():
        return None
    run = RunDirectory(Path(source).parents[1])
    try:
        refined = _load_refined(context, run, latents)
    except HandoffError:
        return None  # the earlier run is not whole any more: its frames are refined again
    settings = context.manifest.refiner
    blocks, rest = divmod(refined.shape[2] - settings.sink_size, settings.block_size) if refined is not None else (0, 1)
    if refined is None or rest:
        return None
    generator = torch.Generator("cpu").manual_seed(settings.seed)
    for _ in range(blocks):  # each block drew once
        torch.randn((*refined.shape[:2], settings.block_size, *refined.shape[3:]), generator=generator)
    whole = torch.cat([refined, latents[:, :, refined.shape[2] :]], dim=2)
    return RefinerState(whole, blocks, generator.get_state())


def _load_refined(context: StageContext, run: RunDirectory, latents: Tensor) -> Tensor | None:
    """What the earlier run left, if this one would have made the same.

    Raises:
        HandoffError: A file of it is missing or damaged.
    """
    receipt = read_receipt(run, context.stage)
    if receipt is None or damaged_outputs(run, receipt):
        return None
    unrefined = load_tensors(run.stage1_file, {})["latents"]
    refined = load_tensors(run.refined_file, {"stage": context.stage})["latents"]
    then, now = receipt.settings, stage_settings(context.manifest, context.stage)
    same_settings = all(then.get(name) == value for name, value in now.items() if not name.endswith(MAY_DIFFER))
    is_same = (
        same_settings
        and receipt.weights == context.weights
        and receipt.device == str(context.device)
        and receipt.dtype == str(context.dtype).removeprefix("torch.")
        and {**context.versions(), **receipt.versions} == context.versions()
        and torch.equal(unrefined, latents[:, :, : unrefined.shape[2]])
    )
    return refined if is_same else None
