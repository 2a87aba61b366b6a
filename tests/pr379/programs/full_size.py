"""Upstream's Stage 1 at its released size, without memory: `full_size.py CHECKOUT` prints counts as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel

from sana_wm.models.loading import build_empty
from sana_wm.models.pr379.checkout import open_checkout, upstream, without_chatter
from sana_wm.weights.layout import STAGE1_RULES

ours = build_empty(SanaWMTransformer3DModel)
with without_chatter():
    open_checkout(Path(sys.argv[1]), torch.bfloat16)
    theirs = build_empty(lambda: upstream("sana_wm_mps.model").build_transformer())
stored = theirs.state_dict()
renamed = {STAGE1_RULES(name): tuple(tensor.shape) for name, tensor in stored.items()}
renamed.pop(None)
report = {
    "stored_tensors": len(stored),
    "parameters": sum(parameter.numel() for parameter in theirs.parameters()),
    "same_names_and_shapes": renamed == {name: tuple(tensor.shape) for name, tensor in ours.state_dict().items()},
}
sys.stdout.write(json.dumps(report) + "\n")
