"""What the text encoders, the connectors and the first frame's encoder take beside their weights."""

from __future__ import annotations

from collections.abc import Mapping

from sana_wm.planning.device import DeviceKind
from sana_wm.planning.refiner import HOST_BUFFERS

#: Tokens of Stage 1's prompt behind its instruction prefix, for gemma-2-2b-it's own tokenizer.
STAGE1_TEXT_TOKENS = 517

#: Live elements per pixel while the VAE encodes one frame untiled, summed over fake tensors at 704x1280
#: (reports/mps-lint.json).
ENCODE_ELEMENTS_PER_PIXEL = 92
#: Floating operations per pixel of that, as torch's FlopCounterMode counts them: 5.92e6 at 704x1280.
ENCODE_FLOP_PER_PIXEL = 5.9e6


def text_work_bytes(sizes: Mapping[str, int], tokens: int, element_bytes: int, kind: DeviceKind) -> int:
    """Activations of a Gemma over `tokens` tokens: the feed-forward's inside and hidden states; scores where there are.

    CUDA as measured at full size (reports/memory-h100.json): three widths of the feed-forward beside five hidden ones,
    and attention without a score matrix. Elsewhere as counted over fake tensors (reports/mps-lint.json), which is more:
    norms in float32, and eager scores in float32.

    Args:
        sizes: `hidden_size`, `intermediate_size`, `num_attention_heads` of its config.
        tokens: Tokens of one prompt.
        element_bytes: Bytes of an element of an activation.
        kind: Of the device.
    """
    inside, hidden = sizes["intermediate_size"], sizes["hidden_size"]
    if kind == "cuda":
        return tokens * (3 * inside + 5 * hidden) * element_bytes
    scores = sizes["num_attention_heads"] * tokens**2 * (element_bytes + 4)
    return tokens * (4 * inside + 18 * hidden) * element_bytes + scores


def packing_bytes(packed_width: int, tokens: int, element_bytes: int) -> int:
    """Main memory while all hidden states of the refiner's text encoder are packed on the CPU.

    The hidden states and a masked copy, two float32 ones while they are normalised, and the mask: as measured on a CPU,
    4.25 times their size in float32 and 6.5 times in bfloat16.

    Args:
        packed_width: Channels of all hidden states together.
        tokens: Tokens of the prompt.
        element_bytes: Bytes of an element of a hidden state.
    """
    return tokens * packed_width * (2 * element_bytes + 9)


def connectors_work_bytes(packed_width: int, tokens: int, element_bytes: int) -> int:
    """The packed hidden states of all layers, as they come and three times in float32 while they are normalised.

    11.2 bytes an element instead of three times four, which makes the phase 2 % more than its peak on CUDA
    (reports/memory-h100.md: 4.44 against 4.34 GiB).
    """
    return int(tokens * packed_width * (element_bytes + 11.2))


def encode_work_bytes(height_px: int, width_px: int, element_bytes: int) -> int:
    """Activations of the first frame's encoding."""
    return ENCODE_ELEMENTS_PER_PIXEL * height_px * width_px * element_bytes


def streamed_text_bytes(layer_bytes: int, stored_layer_bytes: int) -> tuple[int, int]:
    """Device and host memory of a text encoder that is read layer by layer: one layer, and the buffers."""
    return layer_bytes, HOST_BUFFERS * stored_layer_bytes
