"""How much of the refiner may stay on the device: decided before anything is loaded, from sizes alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from sana_wm.errors import MemoryCapError
from sana_wm.models.refiner.streaming import HOST_BUFFERS
from sana_wm.models.refiner.transformer import FEED_FORWARD_TOKENS, TEXT_PARTS, window_shape
from sana_wm.weights.layout import REFINER_RULES

GIB = 2**30

RefinerMode = Literal["autoregressive", "single_shot"]


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
        prompt_projection_bytes: The prompt projections of one block, released once the prompt is set.
        prompt_bytes: The prompt's keys and values of all layers.
        window_bytes: Sink, history and the shared window.
        activation_bytes: Tensors of the pass itself.
    """

    blocks: int
    fixed_bytes: int
    block_bytes: int
    prompt_projection_bytes: int
    prompt_bytes: int
    window_bytes: int
    activation_bytes: int

    @property
    def resident_bytes(self) -> int:
        """Peak with all weights on the device: either when the prompt is set, or in the passes."""
        weights = self.fixed_bytes + self.blocks * self.block_bytes + self.prompt_bytes
        return weights + max(self.blocks * self.prompt_projection_bytes, self.window_bytes + self.activation_bytes)

    def streamed_bytes(self, resident_blocks: int) -> int:
        """Peak with some blocks on the device, one in the slot, and the host buffers, which share a Mac's memory."""
        held = resident_blocks + 1 + HOST_BUFFERS
        work = self.prompt_bytes + self.window_bytes + self.activation_bytes
        return self.fixed_bytes + held * self.block_bytes + work


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
    transformer: Any,
    latent_shape: tuple[int, ...],
    *,
    mode: RefinerMode,
    dtype: torch.dtype,
    sink_size: int = 1,
    block_size: int = 3,
    kv_max_frames: int = 11,
    text_tokens: int = 1024,
) -> RefinerSizes:
    """Sizes for one refinement, from a transformer that may be empty.

    Args:
        transformer: `SanaWMLTX2RefinerTransformer3DModel`, on meta or not, with or without its audio half.
        latent_shape: (B, C, F, h, w).
        mode: How the frames are refined.
        dtype: Dtype of weights and activations.
        sink_size: Latent frames of the sink.
        block_size: Latent frames of a block; autoregressive only.
        kv_max_frames: Latent frames of sink and history; autoregressive only.
        text_tokens: Tokens of the prompt.
    """
    refined = latent_shape[2] - sink_size
    if mode == "single_shot":
        current, history = refined, 0
    else:
        current = min(block_size, refined)
        kept = (refined - 1) // block_size * block_size
        history = min(kv_max_frames - sink_size, kept) if kv_max_frames > sink_size else kept
    shape = window_shape(transformer.config, latent_shape, sink_size, history, current)
    fixed = block = projections = 0
    for name, parameter in transformer.named_parameters():
        size = parameter.numel() * dtype.itemsize
        if REFINER_RULES(name) is None:
            continue
        if not name.startswith("transformer_blocks."):
            fixed += size
        elif name.startswith("transformer_blocks.0."):
            is_projection = any(part in name for part in TEXT_PARTS)
            projections += size if is_projection else 0
            block += 0 if is_projection else size
    width = shape.heads * shape.head_dim
    return RefinerSizes(
        blocks=shape.layers,
        fixed_bytes=fixed,
        block_bytes=block,
        prompt_projection_bytes=projections,
        prompt_bytes=2 * shape.layers * shape.batch * text_tokens * width * dtype.itemsize,
        window_bytes=shape.elements * dtype.itemsize,
        activation_bytes=_activation_bytes(shape.batch * current * shape.frame_tokens, width, dtype),
    )


def _activation_bytes(tokens: int, width: int, dtype: torch.dtype) -> int:
    """Upper bound for one pass: hidden states and projections, rotary tables and their float32 products, the FF."""
    token_wide = tokens * width
    hidden = 8 * token_wide * dtype.itemsize
    rotary = 3 * token_wide * 4
    feed_forward = 2 * 4 * min(tokens, FEED_FORWARD_TOKENS) * width * dtype.itemsize
    return hidden + rotary + feed_forward
