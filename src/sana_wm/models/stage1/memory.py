"""What a block keeps of frames that are over, for the model that makes a video chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class DeltaNetMemory:
    """What a delta-net block carries from one chunk into the next.

    Attributes:
        states: (3, B, H, D, D) float32, state after the last frame: main, camera, and the mass in the first column.
        keys: (reach, B, S, C), the last frames of the main branch's keys before their convolution.
        camera_keys: The same of the camera branch; `None` where its convolution does not look back.
    """

    states: Tensor
    keys: Tensor
    camera_keys: Tensor | None


@dataclass(frozen=True)
class ChunkKeys:
    """Keys and values that a softmax block made of one chunk, (T, B, S, H, D) each.

    They stand where they were made: rotated by absolute positions, in the ray space of absolute poses.
    """

    key: Tensor
    value: Tensor
    camera_key: Tensor
    camera_value: Tensor


@dataclass(frozen=True)
class BlockMemory:
    """What one block sees of earlier chunks, or has made of one chunk.

    Attributes:
        delta_net: Of a delta-net block.
        keys: Of a softmax block, a chunk each; in any order, since softmax does not ask for one.
        feed_forward: (m, B, S, C), the last frames before the feed-forward's temporal convolution.
    """

    delta_net: DeltaNetMemory | None = None
    keys: tuple[ChunkKeys, ...] = ()
    feed_forward: Tensor | None = None


#: Before the first chunk, and wherever all frames are computed together.
NO_MEMORY = BlockMemory()
