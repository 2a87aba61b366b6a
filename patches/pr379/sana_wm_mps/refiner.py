"""The LTX-2 refiner: rotary tables that need float64, bounded attention, and modulation once per noise level."""

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


def forward_video_only(
    refiner: Any,
    *,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor,
    timestep: Tensor,
    encoder_attention_mask: Tensor | None,
    num_frames: int,
    height: int,
    width: int,
    fps: float,
    n_context_tokens: int,
) -> Tensor:
    """The velocity of all tokens, (B, N, C); in place of `DiffusersLTX2Refiner._forward_video_only`.

    Upstream embeds the noise level of every token by itself: N rows of six times the width, 4.9 GiB for 961 frames and
    as much again in every block. There are two levels, that of the sink and that of all other tokens.
    """
    from diffusion.refiner import diffusers_ltx2_refiner as upstream

    network = refiner.transformer
    batch = len(hidden_states)
    if batch != 1:
        raise NotImplementedError(f"the refiner takes one video at a time, got {batch}")
    coordinates = network.rope.prepare_video_coords(batch, num_frames, height, width, hidden_states.device, fps=fps)
    rotary = network.rope(coordinates, device=hidden_states.device)
    x = network.proj_in(hidden_states)
    parts = (slice(0, n_context_tokens), slice(n_context_tokens, None))
    levels = torch.stack((timestep[0, 0], timestep[0, -1]))
    modulation, embedded = network.time_embed(levels, batch_size=2, hidden_dtype=x.dtype)
    modulation, embedded = modulation.view(2, 6, -1), embedded.view(2, -1)
    text = network.caption_projection(encoder_hidden_states).view(batch, -1, x.shape[-1])
    bias = encoder_attention_mask
    if bias is not None and bias.ndim == 2:
        bias = ((1 - bias.to(x.dtype)) * -10000.0)[:, None]

    for block in network.transformer_blocks:
        shift, scale, gate, shift_ff, scale_ff, gate_ff = (block.scale_shift_table + modulation).unbind(1)
        normed = _modulate(block.norm1(x), scale, shift, parts)
        seen = upstream._streaming_self_attention(
            attn=block.attn1, hidden_states=normed, query_rotary_emb=rotary, n_context_tokens=n_context_tokens
        )
        x = x + _scale(seen, gate, parts)
        x = x + block.attn2(block.norm2(x), encoder_hidden_states=text, query_rotary_emb=None, attention_mask=bias)
        x = x + _scale(block.ff(_modulate(block.norm3(x), scale_ff, shift_ff, parts)), gate_ff, parts)
    shift, scale = (network.scale_shift_table + embedded[:, None]).unbind(1)
    return network.proj_out(_modulate(network.norm_out(x), scale, shift, parts))


def _modulate(x: Tensor, scale: Tensor, shift: Tensor, parts: tuple[slice, slice]) -> Tensor:
    """`x (1 + scale) + shift`, each part of the tokens (1, N, C) with its own row of (2, C)."""
    out = torch.empty_like(x)
    for row, tokens in enumerate(parts):
        out[:, tokens] = x[:, tokens] * (1 + scale[row]) + shift[row]
    return out


def _scale(x: Tensor, gate: Tensor, parts: tuple[slice, slice]) -> Tensor:
    """`x gate` in place, each part with its own row."""
    for row, tokens in enumerate(parts):
        x[:, tokens] *= gate[row]
    return x
