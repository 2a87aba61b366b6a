"""The prompt's way into the refiner: Gemma-3, all its hidden states packed, the connectors. A phase of its own.

Two networks follow each other, 24 GB and 2 GB, so they are never resident together; what remains is 8 MB.

Source: diffusers `pipelines/sana_wm/refiner.py` (`_encode_prompt`) and `pipelines/ltx2/connectors.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers.pipelines.sana_wm.refiner import _pack_text_embeds  # pyright: ignore[reportPrivateUsage]
from torch import Tensor, nn
from torch.nn import functional as F

from sana_wm.models.loading import UnusedAudioConnector
from sana_wm.models.pacing import paced
from sana_wm.replacements.catalogue import require
from sana_wm.sizes import REFINER_PROMPT_TOKENS

# A linear over 32767 or more inputs reads past its operands on M1 and M2 before torch 2.14 (pytorch #177116).
MAX_IN_FEATURES = 32766


@dataclass(frozen=True)
class PromptEncoding:
    """What the transformer reads of a prompt.

    Attributes:
        prompt_embeds: (1, L, C) in the connectors' dtype.
        prompt_attention_mask: (1, L) int64, 1 where a token takes part.
    """

    prompt_embeds: Tensor
    prompt_attention_mask: Tensor


def tokenize_prompt(tokenizer: Any, prompt: str) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, each (1, 1024) int64, stripped, cut and padded on the left."""
    tokens = tokenizer(
        [prompt.strip()],
        padding="max_length",
        padding_side="left",
        max_length=REFINER_PROMPT_TOKENS,
        truncation=True,
        add_special_tokens=True,
        return_tensors="pt",
    )
    return tokens.input_ids, tokens.attention_mask


@torch.no_grad()
def encode_levels(text_encoder: Any, input_ids: Tensor, attention_mask: Tensor, device: torch.device) -> Tensor:
    """Gemma-3's hidden states before, between and after its layers, packed and normalised.

    Each level goes to the CPU as soon as it is there, and is packed there: 49 levels of 1024 tokens are 385 MB, and
    packing takes several copies of that.

    Args:
        text_encoder: `Gemma3TextModel`, resident or streamed.
        input_ids: (1, L).
        attention_mask: (1, L).
        device: Where the text encoder computes.

    Returns:
        (1, L, C * levels) on the CPU in the text encoder's dtype.
    """
    levels: list[Tensor] = []

    def keep(_module: nn.Module, _args: object, output: Any) -> None:
        levels.append((output[0] if isinstance(output, tuple) else output).to("cpu"))

    # The last layer's level counts after the final norm.
    sources = (text_encoder.embed_tokens, *text_encoder.layers[:-1], text_encoder.norm)
    hooks = [source.register_forward_hook(keep) for source in sources]
    try:
        text_encoder(input_ids=input_ids.to(device), attention_mask=attention_mask.to(device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    stacked = torch.stack(levels, dim=-1)
    levels.clear()  # packing takes several times their size
    return _pack_text_embeds(stacked, attention_mask.sum(dim=-1), device="cpu", padding_side="left")


@torch.no_grad()
def connect(connectors: Any, packed: Tensor, attention_mask: Tensor) -> PromptEncoding:
    """Run the video connector on packed text embeddings.

    Args:
        connectors: `LTX2TextConnectors` on its device, with or without its audio connector.
        packed: (1, L, C * levels) from `encode_levels`.
        attention_mask: (1, L) from `tokenize_prompt`.

    Returns:
        The encoding, on the CPU: it is kept, the connectors are not.
    """
    parameter: Tensor = next(connectors.video_connector.parameters())
    with _device_ready(connectors):
        prompt_embeds, _, mask = connectors(
            packed.to(parameter.device, parameter.dtype), attention_mask.to(parameter.device)
        )
    return PromptEncoding(prompt_embeds.to("cpu"), mask.to("cpu"))


@contextmanager
def _device_ready(connectors: Any) -> Generator[None]:
    """Put parts that every device computes rightly into a connectors object, for a while."""
    require("connectors-projection", "connectors-rotary")
    replaced: dict[str, Callable[[Any], nn.Module]] = {
        "text_proj_in": SplitLinear,
        "video_text_proj_in": SplitLinear,
        "audio_text_proj_in": SplitLinear,
        "audio_connector": lambda _: UnusedAudioConnector(),
    }
    originals = {name: getattr(connectors, name) for name in replaced if hasattr(connectors, name)}
    rope = connectors.video_connector.rope
    for name, original in originals.items():
        setattr(connectors, name, replaced[name](original))
    connectors.video_connector.rope = CpuRotary(rope)
    try:
        yield
    finally:
        connectors.video_connector.rope = rope
        for name, original in originals.items():
            setattr(connectors, name, original)


class CpuRotary(nn.Module):
    """Rotary tables built on the CPU, where float64 exists, and moved as float32.

    Args:
        rope: diffusers' `LTX2RotaryPosEmbed1d`, which has no parameters.
    """

    def __init__(self, rope: nn.Module) -> None:
        super().__init__()
        self.rope = rope

    def forward(self, batch_size: int, pos: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines on `device`."""
        cos, sin = self.rope(batch_size, pos, device=torch.device("cpu"))
        return cos.float().to(device), sin.float().to(device)


class SplitLinear(nn.Module):
    """A linear layer over very many inputs, in parts that are added in float32.

    Args:
        linear: The layer; up to `max_in_features` it is called as it is.
        max_in_features: Inputs of one part at most.
    """

    def __init__(self, linear: nn.Linear, max_in_features: int = MAX_IN_FEATURES) -> None:
        super().__init__()
        self.linear = linear
        self.max_in_features = max_in_features

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out) in the dtype of x."""
        weight = self.linear.weight
        if weight.shape[1] <= self.max_in_features:
            return self.linear(x)
        parts = -(-weight.shape[1] // self.max_in_features)
        size = -(-weight.shape[1] // parts)
        total = torch.zeros((*x.shape[:-1], weight.shape[0]), dtype=torch.float32, device=x.device)
        columns = (slice(start, start + size) for start in range(0, weight.shape[1], size))
        for part in paced(columns, x.device):
            total += F.linear(x[..., part].float(), weight[:, part].float())
        bias = cast("Tensor | None", self.linear.bias)
        if bias is not None:
            total += bias
        return total.to(x.dtype)
