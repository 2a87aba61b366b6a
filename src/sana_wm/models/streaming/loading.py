"""The student from its files: diffusers' class, with the words of upstream's config translated."""

from __future__ import annotations

import inspect

import torch
from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel

from sana_wm.errors import WeightsError
from sana_wm.models.loading import build_empty, load_weights
from sana_wm.weights.component_config import read_config
from sana_wm.weights.layout import REPAIR, Component
from sana_wm.weights.streaming_config import StreamingConfig, parse_streaming_config


def load_student(
    component: Component, device: torch.device, dtype: torch.dtype
) -> tuple[SanaWMTransformer3DModel, StreamingConfig]:
    """The network, and what its config says of sampling.

    Args:
        component: From `weights.layout.student_component`.
        device: Where it computes.
        dtype: What its weights become.

    Raises:
        WeightsError: Its files are missing, damaged or of another network.
    """
    config = parse_streaming_config(read_config(component))
    known = inspect.signature(SanaWMTransformer3DModel.__init__).parameters
    arguments = {name: value for name, value in config.network.items() if name in known}
    try:
        transformer = build_empty(lambda: SanaWMTransformer3DModel(**arguments))
    except (TypeError, ValueError) as error:
        raise WeightsError(
            "the student's config does not describe a network",
            got=f"{component.config}: {error}",
            next_step=REPAIR,
        ) from error
    load_weights(transformer, component.shards, device=device, dtype=dtype, rename=component.rules)
    return transformer, config
