"""Cross-attention from video tokens to the prompt, whose keys and values are made once per run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.models.transformers.transformer_sana_wm import MultiHeadCrossAttention
from torch import Tensor

from sana_wm.models.attention import AttentionBudget, attention
from sana_wm.models.stage1.modulation import normalize


@dataclass(frozen=True)
class TextKeys:
    """Keys and values of one prompt in one block, (1, H, L, D) each; padding tokens are left out."""

    key: Tensor
    value: Tensor


def encode_text_keys(cross_attention: MultiHeadCrossAttention, text: Tensor, keep: Tensor) -> TextKeys:
    """Project one prompt for one block.

    Args:
        cross_attention: The block's module.
        text: (L, C) embedded prompt.
        keep: (L,) boolean on the CPU; the tokens that may be seen. A masked key gets weight 0, so leaving it out is
            exact.
    """
    channels = text.shape[-1]
    kept = text[keep.nonzero()[:, 0].to(text.device)]
    key, value = cross_attention.kv_linear(kept).split(channels, dim=-1)
    heads = (1, -1, cross_attention.heads, cross_attention.head_dim)
    key = normalize(key, cross_attention.k_norm).reshape(heads).transpose(1, 2).contiguous()
    return TextKeys(key, value.reshape(heads).transpose(1, 2).contiguous())


def add_text_attention(
    x: Tensor, cross_attention: MultiHeadCrossAttention, text_keys: tuple[TextKeys, ...], budget: AttentionBudget
) -> None:
    """Add what the prompt has to say to `x`, in place.

    Args:
        x: (T, B, S, C), contiguous; some frames of the residual stream.
        cross_attention: The block's module.
        text_keys: One per item of the batch.
        budget: Limit for a score matrix.
    """
    frames, batch, spatial, _ = x.shape
    heads, head_dim = cross_attention.heads, cross_attention.head_dim
    query = normalize(cross_attention.q_linear(x), cross_attention.q_norm)
    query = query.reshape(frames, batch, spatial, heads, head_dim).permute(1, 0, 3, 2, 4)
    out = torch.empty_like(x).reshape(frames, batch, spatial, heads, head_dim)
    for item, keys in enumerate(text_keys):
        repeated = (frames, -1, -1, -1)
        seen = attention(query[item], keys.key.expand(repeated), keys.value.expand(repeated), budget=budget)
        out[:, item] = seen.transpose(1, 2)
    x += cross_attention.proj(out.reshape(x.shape))
