"""The LTX-2 refiner: rotary tables that need float64, and attention through the bounded function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sana_wm_mps.attention import attention
from sana_wm_mps.replacements import original

TABLES = (
    "diffusers.models.transformers.transformer_ltx2:LTX2AudioVideoRotaryPosEmbed",
    "diffusers.pipelines.ltx2.connectors:LTX2RotaryPosEmbed1d",
)


def transformer_rope_forward(rope: Any, coords: Tensor, device: torch.device | str | None = None) -> Any:
    """The transformer's tables by diffusers' own function, on the CPU in float64, moved when they are float32."""
    return _on_cpu(original(f"{TABLES[0]}.forward"), rope, coords.to("cpu"), to=device or coords.device)


def connector_rope_forward(
    rope: Any, batch_size: int, pos: int, device: torch.device | str, *arguments: Any, **keywords: Any
) -> Any:
    """The same for the text connectors."""
    return _on_cpu(original(f"{TABLES[1]}.forward"), rope, batch_size, pos, *arguments, to=device, **keywords)


def _on_cpu(function: Any, rope: Any, *arguments: Any, to: Any, **keywords: Any) -> Any:
    tables = function(rope, *arguments, device=torch.device("cpu"), **keywords)
    return tuple(table.to(torch.float32).to(to) for table in tables)


def dispatch_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    **_: Any,
) -> Tensor:
    """Attention on (B, N, H, D) within a memory budget, in place of diffusers' `dispatch_attention_fn`."""
    if dropout_p or is_causal or enable_gqa:
        raise NotImplementedError("the refiner's attention is neither causal nor grouped and drops nothing")
    heads_first = (x.transpose(1, 2) for x in (query, key, value))
    return attention(*heads_first, mask=attn_mask, scale=scale).transpose(1, 2)
