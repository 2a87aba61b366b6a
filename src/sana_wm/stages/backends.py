"""Which code runs Stage 1 and the refiner: ours on diffusers' networks, or NVIDIA's own from a patched checkout."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

from sana_wm.models.loading import load_stage1_transformer
from sana_wm.models.pr379.checkout import open_checkout
from sana_wm.models.pr379.refiner import open_upstream_refiner
from sana_wm.models.pr379.stage1 import UpstreamStage1, load_upstream_stage1
from sana_wm.models.refiner.loading import open_refiner_engine
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.models.stage1.engine import Stage1Engine
from sana_wm.patches.checkout import CheckoutReport
from sana_wm.runtime.phases import Phase
from sana_wm.stages.context import StageContext


def open_stage1_engine(context: StageContext, phase: Phase) -> Any:
    """The engine of the manifest's backend, its network loaded and held by the phase."""
    if context.manifest.model.backend == "pr379":
        checkout = _open_checkout(context)
        network = phase.hold(load_upstream_stage1(context.layout.transformer, context.device, context.dtype))
        return UpstreamStage1(network, checkout.commit)
    transformer = phase.hold(load_stage1_transformer(context.layout, context.device, context.dtype))
    weights_bytes = sum(parameter.nbytes for parameter in transformer.parameters())
    return Stage1Engine(
        transformer,
        camera_rescale=context.manifest.stage1.camera_rescale,
        working_set_bytes=context.budget_bytes - weights_bytes,
        attention_dtype=context.dtype,
    )


def open_refiner(context: StageContext, resident_blocks: int) -> AbstractContextManager[RefinerEngine]:
    """The refiner's engine with so many blocks of weights on the device."""
    options: dict[str, Any] = {
        "device": context.device,
        "dtype": context.dtype,
        "resident_blocks": resident_blocks,
    }
    component = context.layout.refiner_transformer
    if context.manifest.model.backend == "pr379":
        _open_checkout(context)
        return cast("AbstractContextManager[RefinerEngine]", open_upstream_refiner(component, **options))
    # From page-locked buffers CUDA copies four times as fast; on a Mac there is nothing to copy to.
    return open_refiner_engine(component, pin_host_memory=context.device.type == "cuda", **options)


def _open_checkout(context: StageContext) -> CheckoutReport:
    root = context.manifest.model.pr_root
    assert root is not None  # the manifest refuses backend pr379 without it
    return open_checkout(Path(root), context.dtype)
