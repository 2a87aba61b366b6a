"""Opens the student's Stage 1 on diffusers' network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sana_wm.models.engine import EngineSetup, Latents, Stage1Inputs
from sana_wm.models.streaming.conditioning import StreamConditioning
from sana_wm.models.streaming.engine import StreamingEngine
from sana_wm.models.streaming.loading import load_student
from sana_wm.models.streaming.memory import StreamMemory
from sana_wm.planning.forecasts.streaming import describe_plan
from sana_wm.planning.streaming import Window, chunk_ranges
from sana_wm.runtime.device import dtype_named
from sana_wm.weights.streaming_config import StreamingConfig


def open_stage1(setup: EngineSetup) -> StreamingStage1:
    """The engine with its network loaded, planning with what the weights leave of its budget."""
    dtype = dtype_named(setup.dtype)
    transformer, config = load_student(setup.layout.transformer, torch.device(setup.device), dtype)
    setup.hold(transformer)
    weights_bytes = sum(parameter.nbytes for parameter in transformer.parameters())
    engine = StreamingEngine(
        transformer,
        version=setup.stage1.streaming_version,
        window=Window(config.seen_chunks, config.sink),
        chunk_frames=config.chunk_frames,
        timesteps=config.timesteps,
        working_set_bytes=None if setup.budget_bytes is None else setup.budget_bytes - weights_bytes,
        attention_dtype=dtype,
    )
    return StreamingStage1(engine, config, dtype)


class StreamingStage1:
    """`sana_wm.models.engine.ChunkedStage1` by our streaming engine.

    Args:
        engine: With its network on the device.
        config: What the files say of sampling.
        dtype: What the prompts' embeddings were computed in.
    """

    def __init__(self, engine: StreamingEngine, config: StreamingConfig, dtype: torch.dtype) -> None:
        self._engine, self._config, self._dtype = engine, config, dtype
        self.weights_bytes = sum(parameter.nbytes for parameter in engine.transformer.parameters())
        self._conditioning: StreamConditioning | None = None
        self._memory = engine.new_memory()

    def chunk_ranges(self, latent_num_frames: int) -> tuple[range, ...]:
        """As `sana_wm.models.engine.ChunkedStage1`."""
        return chunk_ranges(latent_num_frames, self._config.chunk_frames)

    def prepare(self, inputs: Stage1Inputs) -> Mapping[str, Any]:
        """As `sana_wm.models.engine.ChunkedStage1`."""
        self._conditioning = self._engine.prepare(
            torch.from_numpy(inputs.prompt_embeds).to(self._dtype),  # float32 holds what bfloat16 was
            torch.from_numpy(inputs.prompt_attention_mask),
            {name: torch.from_numpy(array) for name, array in inputs.camera.items()},
        )
        return self._plan()

    def denoise(self, latents: Latents) -> Latents:
        """As `sana_wm.models.engine.ChunkedStage1`."""
        made = self._engine.denoise(torch.from_numpy(latents), self._prepared, self._memory)
        return made.float().cpu().numpy()

    def remember(self, latents: Latents) -> None:
        """As `sana_wm.models.engine.ChunkedStage1`."""
        self._memory = self._engine.remember(torch.from_numpy(latents), self._prepared, self._memory)

    def memory(self) -> Mapping[str, Tensor]:
        """As `sana_wm.models.engine.ChunkedStage1`."""
        return {name: tensor.to("cpu", copy=True) for name, tensor in self._memory.to_tensors().items()}

    def restore(self, tensors: Mapping[str, Tensor], next_chunk: int) -> None:
        """As `sana_wm.models.engine.ChunkedStage1`."""
        here = {name: tensor.to(self._engine.device) for name, tensor in tensors.items()}
        blocks = int(self._engine.transformer.config["num_layers"])
        self._memory = StreamMemory.from_tensors(here, self._engine.window, next_chunk, blocks)

    def shrink(self) -> Mapping[str, Any] | None:
        """As `sana_wm.models.engine.ChunkedStage1`."""
        return self._plan() if self._engine.shrink() else None

    @property
    def _prepared(self) -> StreamConditioning:
        if self._conditioning is None:
            raise RuntimeError("prepare must come before the first chunk")
        return self._conditioning

    def _plan(self) -> Mapping[str, Any]:
        plan = self._engine.plan
        if plan is None:
            raise RuntimeError("prepare must come before the plan")
        return describe_plan(plan, self._config, self._prepared.ranges)
