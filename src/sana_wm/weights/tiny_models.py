"""The networks of the tiny checkpoint: the real classes at toy width, and random numbers that keep them alive.

What the released files fix is kept: 128 latent channels, ratios 32 and 8, the layer structure and padding of the VAE,
every 4th Stage 1 block softmax, `rope_type` split, 128 learnable registers. Only widths and depths shrink.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video
from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel
from diffusers.models.transformers.transformer_sana_wm_refiner import SanaWMLTX2RefinerTransformer3DModel
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from transformers import Gemma2Config, Gemma2ForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

VOCABULARY_SIZE = 512
GEMMA2_WIDTH = 64
GEMMA3_WIDTH = 48
GEMMA3_LAYERS = 3

# Guidance 5 amplifies what untrained blocks make of the prompt: unit gain would end at latents of std 3.6, and frames
# with 7 % of their pixels outside [-1, 1].
OUTPUT_GAINS = {
    ("transformer", "final_layer.linear.weight"): 0.4,
    ("vae", "decoder.conv_out.conv.weight"): 0.6,
    ("causal_vae", "decoder.conv_out.conv.weight"): 0.4,
}

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class TinyNetwork:
    """One network of the checkpoint.

    Attributes:
        name: The component's name in `WeightLayout`; it seeds the numbers.
        build: Makes the module; called under the meta device.
        zero_centred_norms: Gemma's RMSNorm multiplies by 1 + weight, everybody else's by weight.
    """

    name: str
    build: Callable[[], Any]
    zero_centred_norms: bool = False


def stage1_transformer() -> Any:
    """Three gated-delta-net blocks and one softmax block, 4 heads of 16."""
    return SanaWMTransformer3DModel(
        num_layers=4,
        hidden_size=64,
        num_attention_heads=4,
        linear_head_dim=16,
        chunk_plucker_post_attn_blocks=4,
        caption_channels=GEMMA2_WIDTH,
    )


def vae() -> Any:
    """The released VAE with all widths divided by 32."""
    return AutoencoderKLLTX2Video(
        block_out_channels=(8, 16, 32, 64),
        decoder_block_out_channels=(8, 16, 32),
        encoder_causal=True,
        decoder_causal=False,
        encoder_spatial_padding_mode="zeros",
        decoder_spatial_padding_mode="reflect",
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )


def refiner_transformer() -> Any:
    """Three layers, 2 heads of 32, with the audio half that the released file also carries."""
    return SanaWMLTX2RefinerTransformer3DModel(
        num_layers=3,
        num_attention_heads=2,
        attention_head_dim=32,
        cross_attention_dim=64,
        audio_in_channels=8,
        audio_out_channels=8,
        audio_num_attention_heads=2,
        audio_attention_head_dim=16,
        audio_cross_attention_dim=32,
        caption_channels=GEMMA3_WIDTH,
        rope_type="split",
        rope_double_precision=True,
    )


def connectors() -> Any:
    """One layer for each modality, 2 heads of 24, with the released 128 registers."""
    return LTX2TextConnectors(
        caption_channels=GEMMA3_WIDTH,
        text_proj_in_factor=GEMMA3_LAYERS + 1,
        video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=24,
        video_connector_num_layers=1,
        audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=24,
        audio_connector_num_layers=1,
        rope_type="split",
    )


def gemma2() -> Any:
    """Three layers: sliding, full, sliding attention."""
    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=VOCABULARY_SIZE,
            hidden_size=GEMMA2_WIDTH,
            intermediate_size=2 * GEMMA2_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            query_pre_attn_scalar=32,
        )
    )


def gemma3() -> Any:
    """Sliding, sliding, full attention; the window is shorter than the 1024 tokens, as in the released model."""
    text: dict[str, Any] = {
        "vocab_size": VOCABULARY_SIZE,
        "hidden_size": GEMMA3_WIDTH,
        "intermediate_size": 2 * GEMMA3_WIDTH,
        "num_hidden_layers": GEMMA3_LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "sliding_window": 256,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=5)
    )


NETWORKS = {
    network.name: network
    for network in (
        TinyNetwork("stage1_text_encoder", gemma2, zero_centred_norms=True),
        TinyNetwork("transformer", stage1_transformer),
        TinyNetwork("vae", vae),
        TinyNetwork("refiner_transformer", refiner_transformer),
        TinyNetwork("connectors", connectors),
        TinyNetwork("refiner_text_encoder", gemma3, zero_centred_norms=True),
    )
}


def build_network(network: TinyNetwork, seed: int) -> tuple[Any, Tensors]:
    """The module on the meta device (for its config) and float32 numbers for every stored tensor.

    Each tensor draws from its own generator, seeded by checkpoint seed, component and tensor name: neither the layout
    nor the order in which a class makes its parameters changes a number.
    """
    with torch.device("meta"):
        module = network.build()
    tensors = {
        name: _random_tensor(network, name, tuple(slot.shape), seed)
        for name, slot in module.state_dict().items()
        if name != "lm_head.weight"  # tied to the embeddings; the released files do not store it
    }
    return module, tensors


def _random_tensor(network: TinyNetwork, name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    digest = hashlib.sha256(f"{seed}/{network.name}/{name}".encode()).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest[:7], "little"))
    mean, std = _moments(network, name, shape)
    return mean + std * torch.randn(shape, generator=generator)


def _moments(network: TinyNetwork, name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation of a tensor.

    Many of these start as zeros in the classes (`plucker_embedder`, `conv_k`, the final layers): left so, the branches
    behind them would be dead and no test could see a mistake in them.
    """
    if name.endswith("latents_std"):
        mean, std = 1.0, 0.1
    elif name.endswith("A_log"):
        mean, std = 0.0, 0.3
    elif name.endswith("dt_bias"):
        mean, std = -2.0, 0.3  # exp(A_log) * softplus(dt_bias) ~ 0.1: the state loses a tenth of itself a frame
    elif len(shape) == 1 and "norm" in name and not name.endswith("bias"):
        mean, std = (0.0 if network.zero_centred_norms and "vision" not in name else 1.0), 0.1
    elif len(shape) == 1:
        mean, std = 0.0, 0.05
    elif "scale_shift_table" in name or "learnable_registers" in name:
        mean, std = 0.0, 0.3
    else:
        gain = OUTPUT_GAINS.get((network.name, name), 1.0)
        mean, std = 0.0, gain / math.sqrt(math.prod(shape[1:]))
    return mean, std
