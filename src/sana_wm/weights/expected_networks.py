"""The networks whose tensors are checked: how to build each, and what in its config decides names and shapes."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl_ltx2 import AutoencoderKLLTX2Video
from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel
from diffusers.models.transformers.transformer_sana_wm_refiner import SanaWMLTX2RefinerTransformer3DModel
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from transformers import Gemma2Config, Gemma2Model, Gemma3TextConfig, Gemma3TextModel

from sana_wm.weights.key_rules import CONNECTORS_RULES, REFINER_RULES, KeyRules

Config = dict[str, Any]
ALL_KEYS = KeyRules()


@dataclass(frozen=True)
class Network:
    """How to build one network and how to read its table.

    Attributes:
        build: Makes the module from a config.
        default_config: The class's defaults, JSON-like.
        probes: Two configs whose sizes cannot be confused.
        structure: Config entries that decide which tensors exist, beside the sizes.
        derived: Sizes that are a product or quotient of two entries.
        repeats: Patterns of the layer number in a name, and what counts the layers (None: the number seen).
        except_every: Entry n, if every nth layer lacks some tensors.
        doubling: Lists of widths in which each is twice the one before; others would need layers in between.
        rules: Which of the class's tensors the loaders never read.
    """

    build: Callable[[Config], Any]
    default_config: Config
    probes: tuple[Config, Config]
    structure: tuple[str, ...]
    repeats: tuple[tuple[str, str | None], ...]
    derived: dict[str, tuple[str, str, str]] = field(default_factory=dict[str, tuple[str, str, str]])
    except_every: str | None = None
    doubling: tuple[str, ...] = ()
    rules: KeyRules = ALL_KEYS


def signature_defaults(network_class: Any) -> Config:
    """The defaults of a class's arguments, tuples as lists, the way JSON will give them back."""
    parameters = inspect.signature(network_class.__init__).parameters.values()
    return json.loads(json.dumps({p.name: p.default for p in parameters if p.default is not p.empty}))


def config_defaults(config_class: Any) -> Config:
    """The defaults of a transformers config."""
    return config_class().to_dict()


GEMMA_DERIVED = {
    "query_width": ("num_attention_heads", "*", "head_dim"),
    "key_value_width": ("num_key_value_heads", "*", "head_dim"),
}
GEMMA_PROBES: tuple[Config, Config] = (
    {
        "vocab_size": 331,
        "hidden_size": 44,
        "intermediate_size": 89,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 26,
        "num_hidden_layers": 2,
    },
    {
        "vocab_size": 509,
        "hidden_size": 68,
        "intermediate_size": 131,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 38,
        "num_hidden_layers": 2,
    },
)
NETWORKS: dict[str, Network] = {
    "transformer": Network(
        build=lambda config: SanaWMTransformer3DModel(**config),
        default_config=signature_defaults(SanaWMTransformer3DModel),
        probes=(
            {
                "num_layers": 4,
                "hidden_size": 112,
                "num_attention_heads": 4,
                "linear_head_dim": 16,
                "in_channels": 10,
                "caption_channels": 37,
            },
            {
                "num_layers": 4,
                "hidden_size": 208,
                "num_attention_heads": 8,
                "linear_head_dim": 16,
                "in_channels": 14,
                "caption_channels": 59,
            },
        ),
        structure=(
            "patch_size",
            "ffn_type",
            "t_kernel_size",
            "conv_kernel_size",
            "k_conv_only",
            "qk_norm",
            "cross_norm",
            "y_norm",
            "cam_attn_compress",
            "use_chunk_plucker_post_attn",
            "chunk_plucker_channels",
            "mlp_ratio",
            "mlp_acts",
            "pred_sigma",
        ),
        repeats=((r"^blocks\.(\d+)\.", "num_layers"),),
        derived={"linear_heads": ("hidden_size", "/", "linear_head_dim")},
        except_every="softmax_every_n",
    ),
    "vae": Network(
        build=lambda config: AutoencoderKLLTX2Video(**config),
        default_config=signature_defaults(AutoencoderKLLTX2Video),
        probes=(
            {
                "block_out_channels": [72, 104, 184, 152],
                "decoder_block_out_channels": [88, 176, 352],
                "latent_channels": 37,
            },
            {
                "block_out_channels": [296, 328, 344, 376],
                "decoder_block_out_channels": [136, 272, 544],
                "latent_channels": 53,
            },
        ),
        structure=(
            "in_channels",
            "out_channels",
            "down_block_types",
            "layers_per_block",
            "decoder_layers_per_block",
            "spatio_temporal_scaling",
            "decoder_spatio_temporal_scaling",
            "decoder_inject_noise",
            "downsample_type",
            "upsample_type",
            "upsample_residual",
            "upsample_factor",
            "timestep_conditioning",
            "patch_size",
            "patch_size_t",
        ),
        repeats=((r"\.resnets\.(\d+)\.", None),),
        doubling=("decoder_block_out_channels",),
    ),
    "refiner_transformer": Network(
        build=lambda config: SanaWMLTX2RefinerTransformer3DModel(**config),
        default_config=signature_defaults(SanaWMLTX2RefinerTransformer3DModel),
        probes=(
            {
                "num_layers": 2,
                "num_attention_heads": 2,
                "attention_head_dim": 34,
                "cross_attention_dim": 58,
                "in_channels": 11,
                "out_channels": 13,
                "caption_channels": 41,
            },
            {
                "num_layers": 2,
                "num_attention_heads": 2,
                "attention_head_dim": 46,
                "cross_attention_dim": 74,
                "in_channels": 17,
                "out_channels": 19,
                "caption_channels": 43,
            },
        ),
        structure=(
            "patch_size",
            "patch_size_t",
            "gated_attn",
            "cross_attn_mod",
            "audio_cross_attn_mod",
            "activation_fn",
            "qk_norm",
            "norm_elementwise_affine",
            "attention_bias",
            "attention_out_bias",
            "use_prompt_embeddings",
            "ff_bias",
            "use_keyframes_abs_pos_embedding",
        ),
        repeats=((r"^transformer_blocks\.(\d+)\.", "num_layers"),),
        derived={"inner_dim": ("num_attention_heads", "*", "attention_head_dim")},
        rules=REFINER_RULES,
    ),
    "connectors": Network(
        build=lambda config: LTX2TextConnectors(**config),
        default_config=signature_defaults(LTX2TextConnectors),
        probes=(
            {
                "caption_channels": 58,
                "text_proj_in_factor": 5,
                "video_connector_num_attention_heads": 2,
                "video_connector_attention_head_dim": 34,
                "video_connector_num_learnable_registers": 23,
            },
            {
                "caption_channels": 74,
                "text_proj_in_factor": 7,
                "video_connector_num_attention_heads": 2,
                "video_connector_attention_head_dim": 46,
                "video_connector_num_learnable_registers": 31,
            },
        ),
        structure=(
            "video_gated_attn",
            "per_modality_projections",
            "proj_bias",
        ),
        repeats=((r"^video_connector\.transformer_blocks\.(\d+)\.", "video_connector_num_layers"),),
        derived={
            "packed_width": ("caption_channels", "*", "text_proj_in_factor"),
            "connector_width": ("video_connector_num_attention_heads", "*", "video_connector_attention_head_dim"),
        },
        rules=CONNECTORS_RULES,
    ),
    "stage1_text_encoder": Network(
        build=lambda config: Gemma2Model(Gemma2Config(**config)),
        default_config=config_defaults(Gemma2Config),
        probes=GEMMA_PROBES,
        structure=("attention_bias",),
        repeats=((r"^layers\.(\d+)\.", "num_hidden_layers"),),
        derived=GEMMA_DERIVED,
    ),
    "refiner_text_encoder": Network(
        build=lambda config: Gemma3TextModel(Gemma3TextConfig(**config)),
        default_config=config_defaults(Gemma3TextConfig),
        probes=GEMMA_PROBES,
        structure=("attention_bias",),
        repeats=((r"^layers\.(\d+)\.", "num_hidden_layers"),),
        derived=GEMMA_DERIVED,
    ),
}
