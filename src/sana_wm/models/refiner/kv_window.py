"""The keys and values that a block of frames looks back at: the sink, then a bounded number of refined frames.

Everything is allocated once. Softmax attention does not ask in which order keys come, so the history is a ring: a new
frame overwrites the oldest, and nothing is shifted or concatenated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sana_wm.planning.refiner import WindowShape


class KVWindow:
    """Keys and values of all layers.

    The sink's keys are kept before rotation, because the sink moves with the window; the history's after it. One pair
    of buffers, shared by all layers, holds [sink | history | current] of the layer that is computing: a copy of 0.2 GB
    a layer at full size, where a buffer for each layer would hold 2 GB more for good.

    Args:
        shape: Sizes.
        device: Where the tensors live.
        dtype: Their dtype, that of the network.
    """

    def __init__(self, shape: WindowShape, device: torch.device, dtype: torch.dtype) -> None:
        self.shape = shape
        self.frames_written = 0

        def empty(frames: int) -> Tensor:
            return torch.empty(shape.tensor_shape(frames), device=device, dtype=dtype)

        layers = range(shape.layers)
        self._kept = {
            "sink_key": [empty(shape.sink_frames) for _ in layers],
            "sink_value": [empty(shape.sink_frames) for _ in layers],
            "history_key": [empty(shape.history_frames) for _ in layers],
            "history_value": [empty(shape.history_frames) for _ in layers],
        }
        context_frames = shape.sink_frames + shape.history_frames + shape.current_frames
        self.key = empty(context_frames)
        self.value = empty(context_frames)

    @property
    def history_frames(self) -> int:
        """Refined frames that the history holds now."""
        return min(self.frames_written, self.shape.history_frames)

    def keep_sink(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Keep the sink's keys before rotation and its values, each (B, L, H, D)."""
        self._kept["sink_key"][layer].copy_(key)
        self._kept["sink_value"][layer].copy_(value)

    def sink_key(self, layer: int) -> Tensor:
        """The sink's keys before rotation, (B, L, H, D)."""
        return self._kept["sink_key"][layer]

    def load_prefix(self, layer: int, rotated_sink_key: Tensor) -> int:
        """Bring [sink | history] of a layer to the front of the shared buffers; returns its number of tokens."""
        sink_tokens = self.shape.sink_frames * self.shape.frame_tokens
        end = sink_tokens + self.history_frames * self.shape.frame_tokens
        self.key[:, :sink_tokens] = rotated_sink_key
        self.value[:, :sink_tokens] = self._kept["sink_value"][layer]
        self.key[:, sink_tokens:end] = self._kept["history_key"][layer][:, : end - sink_tokens]
        self.value[:, sink_tokens:end] = self._kept["history_value"][layer][:, : end - sink_tokens]
        return end

    def keep_current(self, layer: int, start: int, end: int) -> None:
        """Keep tokens start..end of the shared buffers as the newest history of a layer."""
        tokens = self.shape.frame_tokens
        for frame, token in enumerate(range(start, end, tokens)):
            slot = (self.frames_written + frame) % self.shape.history_frames * tokens
            for kept, shared in (("history_key", self.key), ("history_value", self.value)):
                self._kept[kept][layer][:, slot : slot + tokens] = shared[:, token : token + tokens]

    def advance(self, frames: int) -> None:
        """Count frames that every layer has kept."""
        self.frames_written += frames
