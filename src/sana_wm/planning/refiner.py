"""How much of the refiner may stay on the device: decided before anything is loaded, from sizes alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from sana_wm.errors import MemoryCapError
from sana_wm.names import RefinerMode
from sana_wm.sizes import GIB, REFINER_PROMPT_TOKENS
from sana_wm.weights.headers import TensorEntry
from sana_wm.weights.int8 import SCALE_SUFFIX
from sana_wm.weights.layout import REFINER_RULES
from sana_wm.weights.stored import held_element_bytes

SIGMAS = (0.909375, 0.725, 0.421875, 0.0)
"""Noise levels that the released refiner was distilled to (NVlabs/Sana PR #379, diffusers' `SanaWMLTX2Refiner`); the
last is reached, not evaluated: three passes a block."""

TEXT_PARTS = ("attn2.to_k.", "attn2.to_v.", "attn2.norm_k.")
"""What a block needs of the prompt only; read once a prompt."""

HOST_BUFFERS = 2
"""Blocks on their way from disk while one computes: one is read while the other is copied to the device."""

FEED_FORWARD_TOKENS = 8192
"""The inside of the feed-forward is four times as wide as its outside: it is computed for so many tokens at a time. At
the released width, 4096, that is 256 MiB inside in bfloat16; a block of three frames, 2640 tokens, is never cut."""


@dataclass(frozen=True)
class WindowShape:
    """Sizes of the keys and values that a block looks back at; frames are latent frames.

    Attributes:
        layers: Transformer blocks.
        batch: Videos.
        heads: Attention heads.
        head_dim: Channels of a head.
        frame_tokens: Tokens of one frame.
        sink_frames: Frames at the front that stay unrefined.
        history_frames: Refined frames that are kept.
        current_frames: Frames refined together.
    """

    layers: int
    batch: int
    heads: int
    head_dim: int
    frame_tokens: int
    sink_frames: int
    history_frames: int
    current_frames: int

    def tensor_shape(self, frames: int) -> tuple[int, int, int, int]:
        """(B, L, H, D) for some frames: tokens before heads, so that frames are contiguous."""
        return (self.batch, frames * self.frame_tokens, self.heads, self.head_dim)

    @property
    def elements(self) -> int:
        """Elements of all tensors of a window."""
        frame_elements = 2 * self.batch * self.heads * self.frame_tokens * self.head_dim
        kept = self.layers * (self.sink_frames + self.history_frames)
        return frame_elements * (kept + self.sink_frames + self.history_frames + self.current_frames)


def window_shape(
    sizes: Mapping[str, int], latent_shape: tuple[int, ...], sink: int, history: int, current: int
) -> WindowShape:
    """Sizes of the window of a transformer, by its config, for latents (B, C, F, h, w)."""
    return WindowShape(
        layers=sizes["num_layers"],
        batch=latent_shape[0],
        heads=sizes["num_attention_heads"],
        head_dim=sizes["attention_head_dim"],
        frame_tokens=latent_shape[-2] * latent_shape[-1],
        sink_frames=sink,
        history_frames=history,
        current_frames=current,
    )


@dataclass(frozen=True)
class Refinement:
    """What is asked of the refiner: the manifest's fields, and the latents (B, C, F, h, w)."""

    latent_shape: tuple[int, ...]
    mode: RefinerMode
    sink_size: int = 1
    block_size: int = 3
    kv_max_frames: int = 11
    text_tokens: int = REFINER_PROMPT_TOKENS

    @property
    def refined_frames(self) -> int:
        """Latent frames after the sink."""
        return self.latent_shape[2] - self.sink_size

    @property
    def blocks(self) -> int:
        """How often frames are refined together: in single-shot mode once."""
        return 1 if self.mode == "single_shot" else -(-self.refined_frames // self.block_size)

    @property
    def current_frames(self) -> int:
        """Most latent frames refined together."""
        return self.refined_frames if self.mode == "single_shot" else min(self.block_size, self.refined_frames)

    @property
    def history_frames(self) -> int:
        """Most refined frames that a block looks back at."""
        if self.mode == "single_shot":
            return 0
        kept = (self.refined_frames - 1) // self.block_size * self.block_size
        return min(self.kv_max_frames - self.sink_size, kept) if self.kv_max_frames > self.sink_size else kept

    @property
    def passes(self) -> int:
        """Passes through the transformer that read every block: the sink's, three a block, one to keep each block."""
        captures = 0 if self.mode == "single_shot" else self.blocks - 1
        return 1 + (len(SIGMAS) - 1) * self.blocks + captures


@dataclass(frozen=True)
class RefinerPlan:
    """How the transformer is held; goes into the receipt as it is.

    Attributes:
        mode: `resident`, or `streamed` from disk in every pass.
        resident_blocks: Transformer blocks that stay on the device.
        predicted_bytes: Peak of weights, host buffers, window and activations.
        reason: Why, in one sentence.
    """

    mode: Literal["resident", "streamed"]
    resident_blocks: int
    predicted_bytes: int
    reason: str

    def as_json(self) -> dict[str, object]:
        """The fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class RefinerSizes:
    """What the parts of a refinement take, in bytes.

    Attributes:
        blocks: Transformer blocks, a count.
        fixed_bytes: Weights outside the blocks.
        block_bytes: One block without its prompt projections.
        stored_block_bytes: The same as it lies in its file, which a host buffer must hold.
        block_parameters: Parameters of it, a count; scales of 8-bit weights are none.
        prompt_projection_bytes: The prompt projections of one block. A run reads them through one slot; a benchmark
            holds all of them until the prompt is set.
        prompt_bytes: The prompt's keys and values of all layers.
        window_bytes: Sink, history and the shared window.
        activation_bytes: Tensors of the pass itself, with the buffer that 8-bit weights are unpacked into.
    """

    blocks: int
    fixed_bytes: int
    block_bytes: int
    stored_block_bytes: int
    block_parameters: int
    prompt_projection_bytes: int
    prompt_bytes: int
    window_bytes: int
    activation_bytes: int

    @property
    def resident_bytes(self) -> int:
        """Peak with all weights on the device: either when the prompt is set, or in the passes."""
        weights = self.fixed_bytes + self.blocks * self.block_bytes + self.prompt_bytes
        return weights + max(self.blocks * self.prompt_projection_bytes, self.window_bytes + self.activation_bytes)

    @property
    def host_bytes(self) -> int:
        """The buffers that streamed blocks are read into."""
        return HOST_BUFFERS * self.stored_block_bytes

    def streamed_bytes(self, resident_blocks: int) -> int:
        """Peak with some blocks on the device, one in the slot, and the host buffers, which share a Mac's memory."""
        blocks = (resident_blocks + 1) * self.block_bytes + self.host_bytes
        return self.fixed_bytes + blocks + self.prompt_bytes + self.window_bytes + self.activation_bytes


def plan_refiner(sizes: RefinerSizes, budget_bytes: int) -> RefinerPlan:
    """Resident when it fits, otherwise streamed with as many blocks staying as fit.

    Args:
        sizes: From `measure_refiner`.
        budget_bytes: What the transformer phase may take.

    Raises:
        MemoryCapError: Not even one block at a time fits.
    """
    budget = f"{budget_bytes / GIB:.1f} GiB"
    if sizes.resident_bytes <= budget_bytes:
        reason = f"all weights fit: {sizes.resident_bytes / GIB:.1f} of {budget}"
        return RefinerPlan("resident", sizes.blocks, sizes.resident_bytes, reason)
    smallest = sizes.streamed_bytes(0)
    if smallest > budget_bytes:
        raise MemoryCapError(
            "the refiner does not fit even with one block in memory at a time",
            got=f"a budget of {budget}",
            expected=f"at least {smallest / GIB:.1f} GiB",
            next_step="Raise memory.cap_gib, or lower refiner.kv_max_frames or refiner.block_size.",
        )
    resident_blocks = min((budget_bytes - smallest) // sizes.block_bytes, sizes.blocks - 1)
    reason = (
        f"all weights need {sizes.resident_bytes / GIB:.1f} GiB, the budget is {budget}: "
        f"{resident_blocks} of {sizes.blocks} blocks stay, the others are read in every pass"
    )
    return RefinerPlan("streamed", resident_blocks, sizes.streamed_bytes(resident_blocks), reason)


def measure_refiner(
    tensors: Mapping[str, TensorEntry],
    sizes: Mapping[str, int],
    asked: Refinement,
    element_bytes: int,
) -> RefinerSizes:
    """Sizes for one refinement.

    Args:
        tensors: Of the transformer as it is loaded, by its own names, with or without its audio half.
        sizes: Of its config: `num_layers`, `num_attention_heads`, `attention_head_dim`.
        asked: What shall be refined, and how.
        element_bytes: Bytes of an element of weights and activations.
    """
    shape = window_shape(sizes, asked.latent_shape, asked.sink_size, asked.history_frames, asked.current_frames)
    fixed = block = stored_block = parameters = projections = unpacked = 0
    for name, entry in tensors.items():
        elements = math.prod(entry.shape)
        size = elements * held_element_bytes(entry, element_bytes)
        unpacked = max(unpacked, elements * element_bytes if entry.dtype == "I8" else 0)
        if REFINER_RULES(name) is None:
            continue
        if not name.startswith("transformer_blocks."):
            fixed += size
        elif name.startswith("transformer_blocks.0."):
            is_projection = any(part in name for part in TEXT_PARTS)
            projections += size if is_projection else 0
            if not is_projection:
                block += size
                stored_block += entry.end_bytes - entry.start_bytes
                parameters += 0 if name.endswith(SCALE_SUFFIX) else elements
    width = shape.heads * shape.head_dim
    current_tokens = shape.batch * asked.current_frames * shape.frame_tokens
    return RefinerSizes(
        blocks=shape.layers,
        fixed_bytes=fixed,
        block_bytes=block,
        stored_block_bytes=stored_block,
        block_parameters=parameters,
        prompt_projection_bytes=projections,
        prompt_bytes=2 * shape.layers * shape.batch * asked.text_tokens * width * element_bytes,
        window_bytes=shape.elements * element_bytes,
        activation_bytes=_activation_bytes(current_tokens, width, element_bytes) + unpacked,
    )


def _activation_bytes(tokens: int, width: int, element_bytes: int) -> int:
    """Upper bound for one pass: hidden states and projections, rotary tables and their float32 products, the FF.

    With it the whole forecast is 31.96 GB where 31.78 were measured (reports/bench/refiner.md).
    """
    token_wide = tokens * width
    hidden = 8 * token_wide * element_bytes
    rotary = 3 * token_wide * 4
    feed_forward = 2 * 4 * min(tokens, FEED_FORWARD_TOKENS) * width * element_bytes
    return hidden + rotary + feed_forward


def refinement_tflop(sizes: Mapping[str, int], asked: Refinement, block_parameters: int) -> float:
    """Arithmetic of all passes: two operations a parameter and token, and attention over the window.

    Args:
        sizes: As in `measure_refiner`.
        asked: The same.
        block_parameters: Parameters of all blocks that a pass multiplies with.
    """
    layers, width = sizes["num_layers"], sizes["num_attention_heads"] * sizes["attention_head_dim"]
    frame_tokens = asked.latent_shape[-2] * asked.latent_shape[-1]
    steps = len(SIGMAS) - 1
    operations = 0
    done = 0
    for _ in range(asked.blocks):
        frames = min(asked.current_frames, asked.refined_frames - done)
        history = min(asked.history_frames, done)
        keys = (asked.sink_size + history + frames) * frame_tokens + asked.text_tokens
        tokens = frames * frame_tokens
        passes = steps + (asked.mode == "autoregressive" and done + frames < asked.refined_frames)
        operations += passes * tokens * (2 * block_parameters + 4 * keys * width * layers)
        done += frames
    return operations / 1e12
