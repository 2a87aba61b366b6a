"""Passes that are captured once and then replayed, where launching them costs more time than computing them.

A pass over three latent frames is five thousand small kernels: on an H200 launching them one by one takes twice as long
as they take. CUDA can replay them as one; Metal has nothing of the kind that torch offers, and does not need it there,
where a pass computes for seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from sana_wm.models.stage1.conditioning import Stage1Conditioning
from sana_wm.models.stage1.memory import BlockMemory


class Pass(Protocol):
    """`Stage1Engine.predict`."""

    def __call__(
        self,
        latents: Tensor,
        frame_timesteps: Tensor,
        conditioning: Stage1Conditioning,
        prompts: tuple[int, ...],
        past: Sequence[BlockMemory] | None,
        kept: list[BlockMemory] | None,
    ) -> Tensor:
        """Velocities, and per block what is kept."""
        ...


class Captured(NamedTuple):
    """A captured pass: what it reads in place, and what it writes."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, Tensor, Stage1Conditioning]
    velocity: Tensor
    kept: list[BlockMemory] | None


class ReplayedPass:
    """Runs a pass, and replays it once it comes back with the same shapes and the same memory in the same place.

    Args:
        run: The pass.
        keep: Whether what blocks leave is wanted.
    """

    def __init__(self, run: Pass, *, keep: bool) -> None:
        self._run, self._keep = run, keep
        self._known: object = None
        self._captured: Captured | None = None

    def __call__(
        self,
        latents: Tensor,
        frame_timesteps: Tensor,
        conditioning: Stage1Conditioning,
        past: Sequence[BlockMemory] | None,
    ) -> tuple[Tensor, list[BlockMemory] | None]:
        """Velocities, and per block what is kept; both are valid until the next call.

        Args:
            latents: As of `Stage1Engine.predict`, on the device.
            frame_timesteps: The same.
            conditioning: The same.
            past: The same.
        """
        inputs = (latents, frame_timesteps, conditioning)
        key = (
            [tuple(tensor.shape) for tensor in tensors_of(inputs)],
            [tensor.data_ptr() for tensor in tensors_of(past)],
            conditioning.plan,
        )
        if past is None or key != self._known:
            # The first time in full: kernels choose their way, which nothing may do while it is captured.
            self._known, self._captured = key, None
            return self.once(*inputs, past)
        if self._captured is None:
            self._captured = self._capture(inputs, past)
        for mine, given in zip(tensors_of(self._captured.inputs), tensors_of(inputs), strict=True):
            if mine.data_ptr() != given.data_ptr():
                mine.copy_(given)
        self._captured.graph.replay()
        return self._captured.velocity, self._captured.kept

    def once(
        self,
        latents: Tensor,
        frame_timesteps: Tensor,
        conditioning: Stage1Conditioning,
        past: Sequence[BlockMemory] | None,
    ) -> tuple[Tensor, list[BlockMemory] | None]:
        """The pass without capturing it; arguments and result as of a call."""
        kept: list[BlockMemory] | None = [] if self._keep else None
        return self._run(latents, frame_timesteps, conditioning, (0,), past, kept), kept

    @torch.no_grad()
    def _capture(self, inputs: tuple[Tensor, Tensor, Stage1Conditioning], past: Sequence[BlockMemory]) -> Captured:
        latents, frame_timesteps, conditioning = inputs
        # Its own copies of what changes from chunk to chunk: later chunks are written over them.
        places = conditioning.positions.repeat(1), conditioning.plucker.clone()
        conditioning = replace(conditioning, positions=places[0], plucker=places[1])
        own = (latents.clone(), frame_timesteps.clone(), conditioning)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            velocity, kept = self.once(*own, past)
        return Captured(graph, own, velocity, kept)


def tensors_of(part: Any) -> list[Tensor]:
    """All tensors in nested dataclasses, lists and tuples, in order."""
    if isinstance(part, Tensor):
        return [part]
    if isinstance(part, (list, tuple)):
        return [tensor for entry in part for tensor in tensors_of(entry)]
    if is_dataclass(part):
        return [tensor for entry in fields(part) for tensor in tensors_of(getattr(part, entry.name))]
    return []
