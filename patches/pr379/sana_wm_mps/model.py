"""Upstream's Stage 1 network as its released configuration has it."""

from __future__ import annotations

from typing import Any

from torch import nn

# configs/sana_wm/sana_wm_1600m_720p.yaml, and the patch size of `SanaMSVideoCamCtrl_1600M_P1_D20`.
RELEASED: dict[str, Any] = {
    "depth": 20,
    "hidden_size": 2240,
    "num_heads": 20,
    "in_channels": 128,
    "caption_channels": 2304,
    "linear_head_dim": 112,
    "model_max_length": 300,
    "softmax_every_n": 4,
    "chunk_plucker_channels": 48,
    "patch_size": (1, 1, 1),
    "input_size": 22,
    "mlp_ratio": 3,
    "mlp_acts": ("silu", "silu", None),
    "ffn_type": "GLUMBConvTemp",
    "t_kernel_size": 3,
    "attn_type": "BidirectionalGDNTriton",
    "camctrl_type": "BidirectionalGDNUCPESinglePathLiteLABothTriton",
    "cam_attn_compress": 1,
    "conv_kernel_size": 4,
    "k_conv_only": True,
    "qk_norm": True,
    "cross_norm": True,
    "y_norm": True,
    "use_pe": True,
    "pos_embed_type": "wan_rope",
    "use_chunk_plucker_post_attn": True,
    "chunk_size": None,
    "chunk_split_strategy": "first_chunk_plus_one",
    "class_dropout_prob": 0.0,
    "learn_sigma": False,
    "pred_sigma": False,
    # The checkpoint fills these weights.
    "init_cam_from_base": False,
}


def build_transformer(**sizes: Any) -> nn.Module:
    """`SanaMSVideoCamCtrl` with the released configuration and other sizes, uninitialised weights, evaluation mode."""
    from diffusion.model.nets.sana_multi_scale_video_camctrl import SanaMSVideoCamCtrl

    return SanaMSVideoCamCtrl(**(RELEASED | sizes)).eval()
