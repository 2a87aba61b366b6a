"""Prompt encoding of Stage 1: Gemma-2 behind the prefix that SANA-WM was trained with."""

from __future__ import annotations

import torch
from diffusers.pipelines.sana_wm.pipeline_sana_wm import DEFAULT_CHI_PROMPT
from transformers import Gemma2Model, PreTrainedTokenizerBase

from sana_wm.sizes import STAGE1_PROMPT_TOKENS
from sana_wm.weights.prompt_tokens import prefixed_length


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, text_encoder: Gemma2Model, prompt: str, negative_prompt: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode the negative and the positive prompt, in this order.

    The positive prompt stands behind the instruction prefix, and of its tokens the first (BOS) and the last 299 are
    kept, so that the prefix steers the encoding without taking part; the negative prompt stands alone.

    Returns:
        Embeddings (2, 1, 300, D) in the encoder's dtype, and masks (2, 300) int64, on the encoder's device.

    Source: `SanaWMPipeline.encode_prompt` of diffusers; equal to it bit for bit (tests/models/stage1/test_text.py).
    """
    prefix = "\n".join(DEFAULT_CHI_PROMPT)
    length = prefixed_length(len(tokenizer.encode(prefix)))
    positive, positive_mask = _encode(tokenizer, text_encoder, prefix + prompt, length)
    negative, negative_mask = _encode(tokenizer, text_encoder, negative_prompt, STAGE1_PROMPT_TOKENS)
    kept = [0, *range(length - STAGE1_PROMPT_TOKENS + 1, length)]
    embeds = torch.cat([negative, positive[:, kept]])[:, None]
    return embeds, torch.cat([negative_mask, positive_mask[:, kept]])


def _encode(
    tokenizer: PreTrainedTokenizerBase, text_encoder: Gemma2Model, text: str, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Last hidden states (1, length, D) and mask (1, length) of one text, padded on the right as in training."""
    tokens = tokenizer(
        [text], max_length=length, padding="max_length", padding_side="right", truncation=True, return_tensors="pt"
    ).to(text_encoder.device)
    states = text_encoder(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
    return states, tokens.attention_mask
