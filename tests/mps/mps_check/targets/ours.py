"""Our engines, called as the stages call them, at the sizes that make the largest tensors: no memory budget."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mps_check.fake_device import DEVICE
from mps_check.targets import networks, stock
from mps_check.targets.target import Size, Target, Trial, on_device
from sana_wm.models.refiner.text import connect, encode_levels
from sana_wm.models.refiner.transformer import RefinerEngine
from sana_wm.models.stage1.engine import Stage1Engine
from sana_wm.models.stage1.sampler import build_schedule, euler_step
from sana_wm.models.streaming.engine import StreamingEngine
from sana_wm.models.vae.first_frame import encode_first_frame
from sana_wm.models.vae.streaming_decoder import StreamingDecoder
from sana_wm.planning.decode import plan_decode
from sana_wm.planning.refiner import SIGMAS
from sana_wm.planning.streaming import chunk_ranges
from sana_wm.sizes import REFINER_PROMPT_TOKENS, STAGE1_PROMPT_TOKENS

AMPLE_BYTES = 1024**4
#: The first, the second, and one that sees both.
STEADY_CHUNKS = 3


def build_stage1(size: Size) -> Trial:
    """What does not change between steps, then one guided step."""
    transformer = networks.stage1_transformer(size)
    config: Any = transformer.config
    frames, height, width = size.latent_num_frames, size.latent_height, size.latent_width
    tokens = STAGE1_PROMPT_TOKENS
    prompt_embeds = torch.zeros(2, 1, tokens, config.caption_channels)
    schedule = build_schedule(num_inference_steps=60, flow_shift=9.8)
    matrices = torch.eye(4).expand(frames * height * width, 4, 4)
    camera = {
        "chunk_plucker": torch.zeros(config.chunk_plucker_channels, frames, height, width),
        "P": matrices,
        "P_inv": matrices,
    }

    def run() -> object:
        engine = Stage1Engine(transformer, camera_rescale="pr379", attention_dtype=torch.bfloat16)
        conditioning = engine.prepare(prompt_embeds, _mask(2, tokens), camera)
        latents = on_device(1, config.in_channels, frames, height, width, dtype=torch.float32)
        velocity = engine.velocity(latents, schedule.timesteps[0], conditioning, guidance_scale=5.0)
        return euler_step(latents, velocity, schedule, 0)

    return Trial((transformer,), run)


def build_stage1_streaming(size: Size) -> Trial:
    """Chunks until one sees as much as any: of the steps one, which are all alike, and the pass that remembers it."""
    transformer = networks.stage1_transformer(size)
    config: Any = transformer.config
    height, width = size.latent_height, size.latent_width
    chunks = chunk_ranges(size.latent_num_frames)[:STEADY_CHUNKS]
    frames = chunks[-1].stop
    tokens = STAGE1_PROMPT_TOKENS
    prompt_embeds = torch.zeros(1, 1, tokens, config.caption_channels)
    matrices = torch.eye(4).expand(frames * height * width, 4, 4)
    camera = {
        "chunk_plucker": torch.zeros(config.chunk_plucker_channels, frames, height, width),
        "P": matrices,
        "P_inv": matrices,
    }

    def noise(_: int, frames: range) -> Tensor:
        return torch.zeros(1, int(config.in_channels), len(frames), height, width)

    def run() -> None:
        engine = StreamingEngine(transformer, timesteps=(1000,))
        conditioning = engine.prepare(prompt_embeds, _mask(1, tokens), camera)
        memory = engine.new_memory()
        for chunk, frames in enumerate(chunks):
            made = engine.denoise(noise(chunk, frames), conditioning, memory)
            memory = engine.remember(made, conditioning, memory)

    return Trial((transformer,), run)


def build_refiner(size: Size) -> Trial:
    """The sink, a full history block by block, and one pass of a block against the whole window."""
    return _refine_blocks(networks.video_refiner_transformer(size), size)


def build_refiner_int8(size: Size) -> Trial:
    """The same with 8-bit weights."""
    return _refine_blocks(networks.int8_refiner_transformer(size), size)


def _refine_blocks(transformer: Any, size: Size) -> Trial:
    def run() -> object:
        engine = _refiner_engine(transformer)
        shape = (1, int(transformer.config["in_channels"]), stock.BLOCK_FRAMES, size.latent_height, size.latent_width)
        window = engine.new_window(shape, stock.SINK_FRAMES, stock.HISTORY_FRAMES, stock.BLOCK_FRAMES)
        sink = engine.rotary_table(range(stock.SINK_FRAMES), shape, stock.FPS)
        engine.capture_sink(torch.zeros(shape)[:, :, : stock.SINK_FRAMES], sink, window)
        table = engine.rotary_table(range(stock.SINK_FRAMES, stock.SINK_FRAMES + stock.BLOCK_FRAMES), shape, stock.FPS)
        for _ in range(-(-stock.HISTORY_FRAMES // stock.BLOCK_FRAMES)):
            engine.capture_history(torch.zeros(shape), table, sink, window)
        return engine.predict_velocity(torch.zeros(shape), SIGMAS[0], table, sink, window)

    return Trial((transformer,), run)


def build_refiner_single_shot(size: Size) -> Trial:
    """The sink, and one pass of all other frames at once."""
    transformer = networks.video_refiner_transformer(size)

    def run() -> object:
        engine = _refiner_engine(transformer)
        frames = size.latent_num_frames
        shape = (1, int(transformer.config["in_channels"]), frames, size.latent_height, size.latent_width)
        latents = torch.zeros(shape)
        window = engine.new_window(shape, stock.SINK_FRAMES, 0, frames - stock.SINK_FRAMES)
        sink = engine.rotary_table(range(stock.SINK_FRAMES), shape, stock.FPS)
        table = engine.rotary_table(range(stock.SINK_FRAMES, frames), shape, stock.FPS)
        engine.capture_sink(latents[:, :, : stock.SINK_FRAMES], sink, window)
        return engine.predict_velocity(latents[:, :, stock.SINK_FRAMES :], SIGMAS[0], table, sink, window)

    return Trial((transformer,), run)


def _refiner_engine(transformer: Any) -> RefinerEngine:
    engine = RefinerEngine(transformer)
    tokens = REFINER_PROMPT_TOKENS
    engine.set_prompt(torch.zeros(1, tokens, int(transformer.config["caption_channels"])), _mask(1, tokens))
    return engine


def build_connectors(_: Size) -> Trial:
    """All 49 hidden states of a prompt."""
    connectors = networks.video_text_connectors()
    config: Any = connectors.config
    tokens = REFINER_PROMPT_TOKENS
    packed = on_device(1, tokens, config.caption_channels * config.text_proj_in_factor)
    return Trial((connectors,), lambda: connect(connectors, packed, _mask(1, tokens)))


def build_gemma3(_: Size) -> Trial:
    """A padded prompt, all hidden states packed."""
    return _encode(networks.tiny_gemma3())


def build_gemma3_int8(_: Size) -> Trial:
    """The same with 8-bit weights."""
    return _encode(networks.tiny_int8_gemma3())


def _encode(encoder: Any) -> Trial:
    mask = _mask(1, REFINER_PROMPT_TOKENS)
    return Trial((encoder,), lambda: encode_levels(encoder, mask, mask, DEVICE))


def build_vae_encode(size: Size) -> Trial:
    """One frame."""
    vae = networks.vae("encoder")
    picture = torch.zeros(1, 3, size.latent_height * 32, size.latent_width * 32)
    return Trial((vae,), lambda: encode_first_frame(vae, picture))


def build_vae_decode(size: Size) -> Trial:
    """The whole video as a stream, in the largest steps that a plan takes."""
    return _decode(size, networks.vae("decoder"))


def build_vae_decode_causal(size: Size) -> Trial:
    """The same with the streaming model's decoder."""
    return _decode(size, networks.vae("decoder", causal=True))


def _decode(size: Size, vae: Any) -> Trial:
    config: Any = vae.config
    plan = plan_decode(config, size.latent_height, size.latent_width, vae.dtype.itemsize, AMPLE_BYTES)
    latents = torch.zeros(size.latent_num_frames, config.latent_channels, size.latent_height, size.latent_width)

    def run() -> None:
        for _ in StreamingDecoder(vae, plan).decode([latents]):
            pass

    return Trial((vae,), run)


def _mask(batch: int, tokens: int) -> Tensor:
    """A prompt that fills half of its places, padded on the left."""
    mask = torch.zeros(batch, tokens, dtype=torch.int64)
    mask[:, tokens // 2 :] = 1
    return mask


TARGETS = (
    Target("stage1", "sana_wm", build_stage1, has_frames=True),
    Target("stage1_streaming", "sana_wm", build_stage1_streaming),
    Target("refiner", "sana_wm", build_refiner),
    Target("refiner_int8", "sana_wm", build_refiner_int8),
    Target("refiner_single_shot", "sana_wm", build_refiner_single_shot, has_frames=True),
    Target("connectors", "sana_wm", build_connectors),
    # transformers' class unchanged, called as `sana_wm.models.stage1.text` calls it.
    Target("gemma2", "sana_wm", stock.build_gemma2),
    Target("gemma3", "sana_wm", build_gemma3),
    Target("gemma3_int8", "sana_wm", build_gemma3_int8),
    Target("vae_encode", "sana_wm", build_vae_encode),
    Target("vae_decode", "sana_wm", build_vae_decode, has_frames=True),
    Target("vae_decode_causal", "sana_wm", build_vae_decode_causal, has_frames=True),
)
