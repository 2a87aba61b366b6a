"""diffusers' and transformers' own classes, called as the stock pipelines call them.

They are the proof that the check can fail: docs/mps.md lists what it must find in them.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.transformers.transformer_sana_wm_refiner import (
    SanaWMLTX2RefinerTransformer3DModel,
    SanaWMRefinerKVCache,
)

from mps_check.fake_device import DEVICE
from mps_check.targets import networks
from mps_check.targets.target import Size, Target, Trial, on_device
from sana_wm.sizes import REFINER_PROMPT_TOKENS, STAGE1_PROMPT_TOKENS

# The refiner's window at its longest: one sink frame and ten frames of history before a block of three.
SINK_FRAMES, HISTORY_FRAMES, BLOCK_FRAMES = 1, 10, 3
FPS = 16.0


def build_stage1(size: Size) -> Trial:
    """One forward pass, guided: the batch is the unconditional and the conditional half."""
    transformer = networks.stage1_transformer(size)
    config: Any = transformer.config
    frames, height, width = size.latent_num_frames, size.latent_height, size.latent_width
    inputs = {
        "hidden_states": on_device(2, config.in_channels, frames, height, width),
        "timestep": on_device(2, 1, frames, dtype=torch.float32),
        "encoder_hidden_states": on_device(2, 1, STAGE1_PROMPT_TOKENS, config.caption_channels),
        "mask": on_device(2, STAGE1_PROMPT_TOKENS, dtype=torch.int64),
        "camera_conditions": on_device(2, frames, 20),
        "chunk_plucker": on_device(2, config.chunk_plucker_channels, frames, height, width),
    }
    return Trial((transformer,), lambda: transformer(**inputs, return_dict=False))


def build_refiner(size: Size) -> Trial:
    """One forward pass of a three-frame block against the full window."""
    transformer = networks.refiner_transformer(size)
    config: Any = transformer.config
    tokens = BLOCK_FRAMES * size.tokens_per_frame
    inputs = {
        "hidden_states": on_device(1, tokens, config.in_channels),
        "encoder_hidden_states": on_device(1, REFINER_PROMPT_TOKENS, config.caption_channels),
        "timestep": on_device(1, tokens, dtype=torch.float32),
        "encoder_attention_mask": on_device(1, REFINER_PROMPT_TOKENS, dtype=torch.int64),
    }

    def run() -> object:
        cache = _full_window(transformer, size)
        rotary = _rotary(transformer, SINK_FRAMES + HISTORY_FRAMES, BLOCK_FRAMES, size)
        mode = "inject_and_capture_post_rope"
        return transformer(**inputs, video_rotary_emb=rotary, kv_cache=cache, kv_cache_mode=mode, return_dict=False)

    return Trial((transformer,), run)


def _full_window(transformer: SanaWMLTX2RefinerTransformer3DModel, size: Size) -> SanaWMRefinerKVCache:
    config: Any = transformer.config
    hidden_size: int = config.num_attention_heads * config.attention_head_dim
    cache = SanaWMRefinerKVCache(len(transformer.transformer_blocks))
    cache.sink_pe = _rotary(transformer, 0, SINK_FRAMES, size)
    for index in range(len(transformer.transformer_blocks)):
        sink, history = (
            [on_device(1, frames * size.tokens_per_frame, hidden_size) for _ in ("key", "value")]
            for frames in (SINK_FRAMES, HISTORY_FRAMES)
        )
        cache.get(index).store_sink(*sink)
        cache.get(index).store_history(*history)
    return cache


def _rotary(transformer: SanaWMLTX2RefinerTransformer3DModel, start: int, frames: int, size: Size) -> Any:
    return transformer.build_rotary_emb_for_absolute_positions(
        batch_size=1,
        frame_positions=list(range(start, start + frames)),
        height=size.latent_height,
        width=size.latent_width,
        device=DEVICE,
        fps=FPS,
    )


def build_connectors(_: Size) -> Trial:
    """All 49 hidden states of a prompt."""
    connectors = networks.text_connectors()
    config: Any = connectors.config
    tokens = REFINER_PROMPT_TOKENS
    hidden_states = on_device(1, tokens, config.caption_channels * config.text_proj_in_factor)
    mask = on_device(1, tokens, dtype=torch.int64)
    return Trial((connectors,), lambda: connectors(hidden_states, mask))


def build_gemma2(_: Size) -> Trial:
    """The prompt with its prefix: 517 tokens."""
    encoder = networks.gemma2()
    ids, mask = (on_device(1, 517, dtype=torch.int64) for _ in ("ids", "mask"))
    return Trial((encoder,), lambda: encoder(input_ids=ids, attention_mask=mask))


def build_gemma3(_: Size) -> Trial:
    """A padded prompt, all hidden states."""
    encoder = networks.tiny_gemma3()
    ids, mask = (on_device(1, REFINER_PROMPT_TOKENS, dtype=torch.int64) for _ in ("ids", "mask"))
    return Trial((encoder,), lambda: encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True))


def build_vae_encode(size: Size) -> Trial:
    """One frame."""
    vae = networks.vae()
    frame = on_device(1, 3, 1, size.latent_height * 32, size.latent_width * 32)

    def run() -> object:
        return vae.encode(frame, return_dict=False)[0].mode()

    return Trial((vae,), run)


def build_vae_decode(size: Size) -> Trial:
    """The whole video at once, untiled."""
    vae = networks.vae()
    config: Any = vae.config
    shape = (1, config.latent_channels, size.latent_num_frames, size.latent_height, size.latent_width)
    latents = on_device(*shape)
    return Trial((vae.decoder,), lambda: vae.decode(latents, return_dict=False))


TARGETS = (
    Target("stage1", "diffusers", build_stage1, has_frames=True),
    Target("refiner", "diffusers", build_refiner),
    Target("connectors", "diffusers", build_connectors),
    Target("gemma2", "diffusers", build_gemma2),
    Target("gemma3", "diffusers", build_gemma3),
    Target("vae_encode", "diffusers", build_vae_encode),
    Target("vae_decode", "diffusers", build_vae_decode, has_frames=True),
)
