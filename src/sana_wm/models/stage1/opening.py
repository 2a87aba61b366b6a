"""Opens our Stage 1 engine on diffusers' network."""

from __future__ import annotations

import torch

from sana_wm.models.engine import EngineSetup
from sana_wm.models.loading import load_stage1_transformer
from sana_wm.models.stage1.engine import Stage1Engine
from sana_wm.models.torch_stage1 import TorchStage1
from sana_wm.runtime.device import dtype_named


def open_stage1(setup: EngineSetup) -> TorchStage1:
    """The engine with its network loaded, planning with what the weights leave of its budget."""
    dtype = dtype_named(setup.dtype)
    transformer = setup.hold(load_stage1_transformer(setup.layout, torch.device(setup.device), dtype))
    weights_bytes = sum(parameter.nbytes for parameter in transformer.parameters())
    engine = Stage1Engine(
        transformer,
        camera_rescale=setup.stage1.camera_rescale,
        working_set_bytes=None if setup.budget_bytes is None else setup.budget_bytes - weights_bytes,
        attention_dtype=dtype,
    )
    return TorchStage1(engine, dtype)
