"""What each chunk is conditioned on, cut from what the whole video is conditioned on."""

from __future__ import annotations

from collections.abc import Mapping

from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel
from torch import Tensor

from sana_wm.errors import HandoffError
from sana_wm.models.stage1.conditioning import (
    Stage1Conditioning,
    arrange_plucker,
    build_positions,
    encode_text,
    merge_plucker_projections,
)
from sana_wm.models.stage1.text_attention import TextKeys
from sana_wm.planning.stage1 import Stage1Plan
from sana_wm.planning.streaming import CHUNK_FRAMES, chunk_ranges


class StreamConditioning:
    """Camera and prompts of a video; on the device only what the chunk at hand needs.

    Args:
        transformer: The loaded network.
        prompt_embeds: (1, 1, L, D) for all chunks, or (chunks, 1, L, D), a row each.
        prompt_attention_mask: (1 or chunks, L); may have holes.
        camera: `chunk_plucker` (48, T, h, w), `P` and `P_inv` (T h w, 4, 4), float32 on the CPU. The poses are relative
            to the video's first frame, never to the chunk's.
        chunk_frames: Latent frames of every chunk but the first.

    Attributes:
        ranges: Latent frames of each chunk.
        plane: Latent height and width.

    Raises:
        HandoffError: There are neither one prompt nor one for each chunk.
    """

    def __init__(
        self,
        transformer: SanaWMTransformer3DModel,
        prompt_embeds: Tensor,
        prompt_attention_mask: Tensor,
        camera: Mapping[str, Tensor],
        chunk_frames: int = CHUNK_FRAMES,
    ) -> None:
        self._transformer = transformer
        self._prompts, self._mask, self._camera = prompt_embeds, prompt_attention_mask, camera
        frames, height, width = camera["chunk_plucker"].shape[1:]
        self.ranges = chunk_ranges(frames, chunk_frames)
        self.plane = (int(height), int(width))
        if len(prompt_embeds) not in (1, len(self.ranges)):
            raise HandoffError(
                "the prompts do not fit the chunks", got=len(prompt_embeds), expected=f"1 or {len(self.ranges)}"
            )
        self._projections = merge_plucker_projections(transformer)
        self._row = 0
        self._text = self._encode(0)
        self._latest: tuple[int, Stage1Conditioning] | None = None

    def of(self, chunk: int, plan: Stage1Plan) -> Stage1Conditioning:
        """The conditioning of a chunk; what it shares with that of the last call is not made again."""
        if self._latest is not None and self._latest[0] == chunk and self._latest[1].plan == plan:
            return self._latest[1]
        row = chunk if len(self._prompts) > 1 else 0
        if row != self._row:
            self._row, self._text = row, self._encode(row)
        frames = self.ranges[chunk]
        grid = (len(frames), *self.plane)
        spatial = self.plane[0] * self.plane[1]
        tokens = slice(frames.start * spatial, frames.stop * spatial)
        matrices = {name: self._camera[name][tokens] for name in ("P", "P_inv")}
        plucker = self._camera["chunk_plucker"][:, frames.start : frames.stop]
        conditioning = Stage1Conditioning(
            grid,
            self._text,
            build_positions(self._transformer, matrices, grid, frames.start),
            arrange_plucker(plucker, next(self._transformer.parameters())),
            self._projections,
            plan,
        )
        self._latest = (chunk, conditioning)
        return conditioning

    def _encode(self, row: int) -> tuple[tuple[TextKeys, ...], ...]:
        return encode_text(self._transformer, self._prompts[row : row + 1], self._mask[row : row + 1])
