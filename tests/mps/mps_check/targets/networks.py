"""The networks of SANA-WM on the fake device, at the size of the released ones unless said otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video
from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel
from diffusers.models.transformers.transformer_sana_wm_refiner import SanaWMLTX2RefinerTransformer3DModel
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from torch import nn
from transformers import Gemma2Config, Gemma2Model, Gemma3TextConfig, Gemma3TextModel

from mps_check.fake_device import Network, move_to_fake_device
from mps_check.targets.target import Size
from sana_wm.models.int8 import use_int8_linears
from sana_wm.models.loading import (
    UnusedAudioConnector,
    VaePart,
    build_empty,
    remove_parts,
)
from sana_wm.weights.int8 import int8_rule, scale_of
from sana_wm.weights.layout import REFINER_RULES

# What the released config.json files say where the class defaults differ.
VAE_CONFIG: dict[str, Any] = {
    "encoder_causal": True,
    "decoder_causal": False,
    "decoder_spatial_padding_mode": "reflect",
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
ROPE_CONFIG: dict[str, Any] = {"rope_type": "split"}


def stage1_transformer(size: Size) -> SanaWMTransformer3DModel:
    """Stage 1: 2.66 B parameters."""
    return _build(lambda: SanaWMTransformer3DModel(**_depth(size)))


def refiner_transformer(size: Size) -> SanaWMLTX2RefinerTransformer3DModel:
    """The refiner: 18.88 B parameters, audio included."""
    return _build(lambda: SanaWMLTX2RefinerTransformer3DModel(**ROPE_CONFIG, **_depth(size)))


def video_refiner_transformer(size: Size) -> SanaWMLTX2RefinerTransformer3DModel:
    """What our stage loads of it: 13.04 B parameters."""
    transformer = refiner_transformer(size)
    remove_parts(transformer, REFINER_RULES.skip_containing)
    return transformer


def int8_refiner_transformer(size: Size) -> SanaWMLTX2RefinerTransformer3DModel:
    """The same with 8-bit weights."""
    transformer = video_refiner_transformer(size)
    use_int8_linears(transformer, _scales("refiner_transformer", transformer))
    return transformer


def _scales(component: str, network: nn.Module) -> list[str]:
    """Of every matrix that becomes bytes."""
    parameters = network.named_parameters()
    return [scale_of(name) for name, weight in parameters if int8_rule().packs(component, name, tuple(weight.shape))]


def text_connectors() -> LTX2TextConnectors:
    """The refiner's text connectors: 1.43 B parameters."""
    return _build(lambda: LTX2TextConnectors(**ROPE_CONFIG))


def video_text_connectors() -> LTX2TextConnectors:
    """What our stage loads of them: 1.08 B parameters."""
    connectors = text_connectors()
    connectors.add_module("audio_connector", UnusedAudioConnector())
    return connectors


def vae(part: VaePart | None = None, *, causal: bool = False) -> AutoencoderKLLTX2Video:
    """The video VAE, 1.22 B parameters, or one half of it; with the streaming model's causal decoder if asked for."""
    network = _build(lambda: AutoencoderKLLTX2Video(**VAE_CONFIG | dict[str, Any](decoder_causal=causal)))
    if part is not None:
        network.add_module("decoder" if part == "encoder" else "encoder", None)
    return network


def gemma2() -> Gemma2Model:
    """The text encoder of Stage 1: 2.6 B parameters."""
    return _build(lambda: Gemma2Model(Gemma2Config()))


def tiny_gemma3() -> Gemma3TextModel:
    """The language model of the refiner's text encoder at two layers and narrow, its head dim kept."""
    config = Gemma3TextConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=256,
        vocab_size=64,
    )
    return _build(lambda: Gemma3TextModel(config))


def tiny_int8_gemma3() -> Gemma3TextModel:
    """The same with 8-bit weights."""
    encoder = tiny_gemma3()
    use_int8_linears(encoder, _scales("refiner_text_encoder", encoder))
    return encoder


def _depth(size: Size) -> dict[str, Any]:
    return {} if size.num_layers is None else {"num_layers": size.num_layers}


def _build(factory: Callable[[], Network]) -> Network:
    return move_to_fake_device(build_empty(factory), torch.bfloat16)
