"""How the student's video is cut into chunks, what each chunk sees, and what its Stage 1 takes: sizes in, sizes out.

Every chunk goes through the network five times: four times to be denoised, once to be remembered. Its cost does not
depend on how much video lies before it, because what it sees of that is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sana_wm.errors import UsageError
from sana_wm.planning.kernels import KernelRules
from sana_wm.planning.stage1 import StepShape, step_shape
from sana_wm.sizes import FRAMES_PER_LATENT
from sana_wm.variants import CHUNK_FRAMES

TIMESTEPS = (1000, 960, 889, 727)
"""Where the student was taught to step; shift 8 at 1, 3/4, 1/2, 1/4. Source: NVlabs/Sana, sana_wm streaming script."""

SHORT_CONVOLUTION_TAPS, TEMPORAL_TAPS = 4, 3  # of the released transformer


@dataclass(frozen=True)
class Window:
    """Which earlier chunks the softmax blocks still see; the delta net's state holds all of them.

    Attributes:
        chunks: How many chunks; negative: all.
        sink: Whether the first chunk always is one of them.
    """

    chunks: int = 2
    sink: bool = True

    def of(self, chunk: int) -> tuple[int, ...]:
        """The chunks that chunk number `chunk` sees."""
        if self.chunks < 0:
            return tuple(range(chunk))
        recent = chunk - self.chunks
        if self.sink and recent >= 0:
            return (0, *range(recent + 1, chunk))
        return tuple(range(max(0, recent), chunk))


def chunk_ranges(latent_num_frames: int, chunk_frames: int = CHUNK_FRAMES) -> tuple[range, ...]:
    """Latent frames of each chunk; the first takes what the others leave over.

    Raises:
        UsageError: There are too few frames for a chunk.
    """
    count, rest = divmod(latent_num_frames, chunk_frames)
    if count == 0:
        raise UsageError(
            "the video is too short for the streaming model",
            got=f"{latent_num_frames} latent frames",
            expected=f"at least {chunk_frames}",
            next_step=f"Ask for at least {FRAMES_PER_LATENT * 2 * chunk_frames + 1} frames.",
        )
    ends = [rest + chunk_frames * (index + 1) for index in range(count)]
    return tuple(range(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True))


def most_seen_frames(ranges: Sequence[range], window: Window) -> int:
    """Latent frames that the chunk that sees the most sees of others."""
    return max(sum(len(ranges[seen]) for seen in window.of(chunk)) for chunk in range(len(ranges)))


def chunk_shape(
    sizes: Mapping[str, float],
    ranges: Sequence[range],
    plane: tuple[int, int],
    window: Window,
    *,
    element_bytes: int,
    attention_element_bytes: int,
    rules: KernelRules,
) -> StepShape:
    """The shape of the largest step of a run, with what is remembered counted as something that stays.

    Args:
        sizes: As in `step_shape`, and `softmax_every_n`.
        ranges: From `chunk_ranges`.
        plane: Latent height and width.
        window: What chunks see.
        element_bytes: Bytes of an element of an activation.
        attention_element_bytes: The same in softmax attention.
        rules: Of the device's attention kernels.
    """
    largest = max(map(len, ranges))
    shape = step_shape(
        sizes,
        (largest, *plane),
        prompts=1,
        element_bytes=element_bytes,
        attention_element_bytes=attention_element_bytes,
        rules=rules,
    )
    seen = most_seen_frames(ranges, window)
    remembered = memory_bytes(
        sizes, plane, seen, min(map(len, ranges)), element_bytes=element_bytes, attention_bytes=attention_element_bytes
    )
    return replace(shape, past_frames=seen, conditioning_bytes=shape.conditioning_bytes + remembered)


def memory_bytes(
    sizes: Mapping[str, float],
    plane: tuple[int, int],
    seen_frames: int,
    new_frames: int,
    *,
    element_bytes: int,
    attention_bytes: int,
) -> int:
    """What all blocks hold of earlier chunks while a chunk is being remembered: the old and the new beside each other.

    Args:
        sizes: As in `chunk_shape`.
        plane: Latent height and width.
        seen_frames: Latent frames whose softmax keys are kept.
        new_frames: Latent frames of the chunk that is remembered.
        element_bytes: Bytes of an element of an activation.
        attention_bytes: Bytes of an element of a softmax key.
    """
    channels, head_dim, layers = (int(sizes[name]) for name in ("hidden_size", "linear_head_dim", "num_layers"))
    every = int(sizes["softmax_every_n"])
    softmax_layers = layers // every if every else 0
    frame = math.prod(plane) * channels
    convolution_frames = 2 * (int(sizes.get("conv_kernel_size", SHORT_CONVOLUTION_TAPS)) - 1)
    feed_forward_frames = int(sizes.get("t_kernel_size", TEMPORAL_TAPS)) // 2
    keys = softmax_layers * 4 * (seen_frames + new_frames) * frame * attention_bytes
    contexts = (layers - softmax_layers) * convolution_frames + layers * feed_forward_frames
    states = (layers - softmax_layers) * 3 * channels * head_dim * 4
    return keys + 2 * (contexts * frame * element_bytes + states)


def stream_tflop(
    sizes: Mapping[str, float], ranges: Sequence[range], plane: tuple[int, int], window: Window, passes: int
) -> float:
    """Arithmetic of a run, or of some chunks of it, as the formulae need it.

    Args:
        sizes: As in `chunk_shape`.
        ranges: From `chunk_ranges`.
        plane: Latent height and width.
        window: What chunks see.
        passes: How often a chunk goes through the network: its steps and once more.
    """
    return passes * sum(chunk_tflop(sizes, ranges, chunk, plane, window) for chunk in range(len(ranges)))


def chunk_tflop(
    sizes: Mapping[str, float], ranges: Sequence[range], chunk: int, plane: tuple[int, int], window: Window
) -> float:
    """Arithmetic of one pass of one chunk; arguments as in `stream_tflop`."""
    channels, head_dim, layers = (int(sizes[name]) for name in ("hidden_size", "linear_head_dim", "num_layers"))
    every = int(sizes["softmax_every_n"])
    softmax_layers = layers // every if every else 0
    spatial = math.prod(plane)
    tokens = len(ranges[chunk]) * spatial
    keys = tokens + sum(len(ranges[seen]) for seen in window.of(chunk)) * spatial
    linear = 48 * channels**2 * tokens * layers
    softmax = 2 * 4 * tokens * keys * channels * softmax_layers
    delta = 2 * 7 * head_dim * channels * tokens * (layers - softmax_layers)
    return (linear + softmax + delta) / 1e12
