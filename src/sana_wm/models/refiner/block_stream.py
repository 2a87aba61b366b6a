"""The refiner as a stream: blocks of latent frames in as they come, the same blocks refined out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from sana_wm.models.refiner.kv_window import KVWindow
from sana_wm.models.refiner.rope import RotaryTable
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.planning.refiner import SIGMAS


class BlockStream:
    """Refines one block after another, each seeing the sink and the frames refined before it.

    Nothing is asked of later blocks, so a block can be refined as soon as Stage 1 has made it; memory is bounded by the
    history. The engine's prompt must be set.

    Args:
        engine: The transformer.
        sink: (B, C, sink, h, w) clean frames at the front; they stay as they are.
        history_frames: Most refined frames that a block looks back at.
        block_frames: Most frames of a block.
        fps: Frames of video per second; the rotary tables count in seconds.
        generator: A CPU generator, the source of one noise tensor a block.
        sigmas: Descending noise levels that end in 0.

    Attributes:
        next_frame: Where in the video the next block begins.

    Source: NVlabs/Sana, `diffusers_ltx2_refiner.py`; diffusers `pipelines/sana_wm/refiner.py`.
    """

    def __init__(
        self,
        engine: RefinerEngine,
        sink: Tensor,
        *,
        history_frames: int,
        block_frames: int,
        fps: float,
        generator: torch.Generator,
        sigmas: Sequence[float] = SIGMAS,
    ) -> None:
        self._engine, self._fps, self._generator, self._sigmas = engine, fps, generator, sigmas
        self._shape = tuple(sink.shape)
        self._sink_frames = self.next_frame = sink.shape[2]
        self._window: KVWindow = engine.new_window(self._shape, self._sink_frames, history_frames, block_frames)
        engine.capture_sink(sink, self._table(range(self._sink_frames)), self._window)

    def refine(self, clean: Tensor, *, is_last: bool = False) -> Tensor:
        """Refine the next block.

        Args:
            clean: (B, C, f, h, w) of Stage 1.
            is_last: Nothing will look back at it: one pass less.

        Returns:
            (B, C, f, h, w) float32 on the CPU.
        """
        tables = self._tables(clean.shape[2])
        noise = torch.randn(clean.shape, generator=self._generator, dtype=torch.float32)
        current = ((1.0 - self._sigmas[0]) * clean.float() + self._sigmas[0] * noise).to(self._engine.device)
        for sigma, next_sigma in pairwise(self._sigmas):
            # Where the network is: bringing it back would leave the device idle between passes.
            velocity = self._engine.predict_velocity(current, sigma, *tables, self._window)
            current = current + (next_sigma - sigma) * velocity
        refined = current.to("cpu")
        if is_last:
            self.next_frame += clean.shape[2]
        else:
            self.recall(current)
        return refined

    def recall(self, refined: Tensor) -> None:
        """Let the next blocks see a block that is refined already: what going on from a checkpoint begins with."""
        self._engine.capture_history(refined, *self._tables(refined.shape[2]), self._window)
        self.next_frame += refined.shape[2]

    def _tables(self, frames: int) -> tuple[RotaryTable, RotaryTable]:
        """Of the next block, and of the sink right before the history that the block sees."""
        sink_start = self.next_frame - self._window.history_frames - self._sink_frames
        block = range(self.next_frame, self.next_frame + frames)
        return self._table(block), self._table(range(sink_start, sink_start + self._sink_frames))

    def _table(self, frame_positions: range) -> RotaryTable:
        return self._engine.rotary_table(frame_positions, self._shape, self._fps)
