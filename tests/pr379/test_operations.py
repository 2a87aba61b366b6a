"""The torch operations of the patch against the golden outputs of PR #379's Triton kernels; no checkout is needed.

diffusers' network carries the golden weights; its attention blocks' arithmetic is ours, called as PR #379 calls it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_sana_wm import (
    BidirectionalGDNUCPESinglePathLiteLA,
    SanaWMTransformer3DModel,
)
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from sana_wm.bench.stage1 import ExactSoftmax

CASES = ["a", "b", "rot"]


def relative_error(out: Tensor, expected: Tensor) -> float:
    return float((out.double() - expected.double()).norm() / expected.double().norm())


@pytest.fixture
def chunk_elements(package: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    """Cut the work into pieces of so many elements."""
    from sana_wm_mps.settings import SETTINGS

    before = SETTINGS.chunk_elements
    SETTINGS.chunk_elements = request.param
    yield request.param
    SETTINGS.chunk_elements = before


class MainBranch(nn.Module):
    """PR #379's main branch from raw queries, keys and values on: its five calls of the kernel modules."""

    def __init__(self, block: BidirectionalGDNUCPESinglePathLiteLA) -> None:
        super().__init__()
        self.norms = block.q_norm, block.k_norm
        self.eps = block.attn.eps

    def forward(self, query, key, value, beta, decay, recall_gate, num_frames, rotary_emb, **_):
        from sana_wm_mps import kernels

        batch, tokens, heads, head_dim = query.shape
        spatial = tokens // num_frames
        qkv = torch.stack((query, key, value), dim=2)
        inverse = kernels.fused_qk_inv_rms(qkv, eps=self.norms[0].eps)
        cos, sin = kernels.prepare_rope_tables(rotary_emb, tokens, head_dim, qkv.device)
        return kernels.fused_bigdn_func(
            qkv,
            *inverse,
            q_norm_weight=self.norms[0].weight,
            k_norm_weight=self.norms[1].weight,
            rope_cos=cos,
            rope_sin=sin,
            beta=beta,
            decay=decay,
            F=num_frames,
            S=spatial,
            k_scale=(head_dim * spatial) ** -0.5,
            eps=self.eps,
        ).reshape(batch, tokens, heads * head_dim)


class CameraBranch(nn.Module):
    """PR #379's camera branch from raw queries, keys and values on."""

    def __init__(self, block: BidirectionalGDNUCPESinglePathLiteLA) -> None:
        super().__init__()
        self.norms = block.q_norm_cam, block.k_norm_cam

    def forward(self, query, key, value, ray_transforms, beta, decay, num_frames, **_):
        from sana_wm_mps import kernels, rotation

        matrices, _, _, table = ray_transforms
        batch, tokens, heads, head_dim = query.shape
        spatial = tokens // num_frames
        cos, sin = kernels._prepare_ucpe_rope_tables(table, tokens, head_dim // 2, query.device)
        query, key, value, growth = kernels.cam_prep_func(
            query.contiguous(),
            key.contiguous(),
            value.contiguous(),
            q_norm_weight=self.norms[0].weight,
            k_norm_weight=self.norms[1].weight,
            proj_q=matrices.transpose(-1, -2),
            proj_kv=kernels._invert_SE3(matrices),
            rope_cos=cos,
            rope_sin=sin,
            k_scale=(head_dim * spatial) ** -0.5,
            norm_eps=self.norms[0].eps,
        )
        beta = beta / growth.view(batch, heads, num_frames, spatial).mean(-1, keepdim=True).clamp_min(1.0)
        seen = kernels.cam_scan_bidi_chunkwise(query, key, value, beta, decay).transpose(-1, -2)
        half = head_dim // 2
        out = (
            rotation.apply_ray_projmat(seen[..., :half], matrices),
            rotation.apply_complex_rope(seen[..., half:], table, inverse=True),
        )
        return torch.cat(out, dim=-1).transpose(1, 2).reshape(batch, tokens, heads * head_dim)


class TwoWayConvolution(nn.Module):
    """Upstream's use of the causal convolution: forwards and backwards, the centre counted once."""

    def __init__(self, like: Any) -> None:
        from sana_wm_mps.short_convolution import ShortConvolution

        super().__init__()
        self.causal = ShortConvolution(*like.weight.shape[::2])
        self.causal.weight = like.weight

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        batch, tokens, channels = x.shape
        frames = x.reshape(batch, num_frames, -1, channels).transpose(1, 2).reshape(-1, num_frames, channels)
        out = self.causal(frames)[0] + self.causal(frames.flip(1))[0].flip(1) - frames * self.causal.weight[:, 0, -1]
        return out.view(batch, -1, num_frames, channels).transpose(1, 2).reshape(batch, tokens, channels)


@pytest.fixture(scope="module")
def network(golden: Path, package: Path) -> SanaWMTransformer3DModel:
    """The golden network with our operations in its delta-net blocks."""
    path = golden / "dit_tiny_weights.safetensors"
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    names = {"depth": "num_layers", "num_heads": "num_attention_heads", "model_max_length": None}
    sizes = {names.get(name, name): value for name, value in config.items() if names.get(name, name)}
    transformer = SanaWMTransformer3DModel(**sizes, chunk_plucker_post_attn_blocks=config["depth"]).eval()
    stored = load_file(path)
    renamed = {name.replace("mlp.0.", "linear_1.").replace("mlp.2.", "linear_2."): name for name in stored}
    transformer.load_state_dict({new: stored[old] for new, old in renamed.items()}, strict=False)
    for block in transformer.blocks:
        if isinstance(block.attn, BidirectionalGDNUCPESinglePathLiteLA):
            block.attn.attn, block.attn.cam_attn = MainBranch(block.attn), CameraBranch(block.attn)
            block.attn.conv_k, block.attn.conv_k_cam = (
                TwoWayConvolution(block.attn.conv_k),
                TwoWayConvolution(block.attn.conv_k_cam),
            )
            for name in ("q_norm", "k_norm", "q_norm_cam", "k_norm_cam", "kernel_func"):
                setattr(block.attn, name, nn.Identity())
    return transformer


@torch.no_grad()
def velocities(network: SanaWMTransformer3DModel, data: dict[str, Tensor]) -> Tensor:
    return network(
        data["hidden_states"],
        data["timestep"],
        data["encoder_hidden_states"],
        encoder_attention_mask=data["encoder_attention_mask"],
        camera_conditions=data["camera_conditions"],
        chunk_plucker=data["chunk_plucker"],
        return_dict=False,
    )[0]


@pytest.fixture(scope="module")
def golden_io(golden: Path) -> dict[str, Tensor]:
    return load_file(golden / "dit_tiny_io.safetensors")


@pytest.mark.parametrize("chunk_elements", [1, 2**24], indirect=True, ids=["frame-by-frame", "at-once"])
@pytest.mark.parametrize("case", CASES)
def test_the_operations_give_what_the_triton_kernels_gave(network, golden_io, case, chunk_elements):
    data = {name.removeprefix(f"{case}."): value for name, value in golden_io.items() if name.startswith(f"{case}.")}
    first: list[Tensor] = []
    hook = network.blocks[0].register_forward_hook(lambda module, inputs, out: first.append(out))
    with ExactSoftmax():
        out = velocities(network, data)
    hook.remove()
    assert relative_error(out, data["out_pr379_fp32sdpa"]) <= 1e-5
    if "pr379_block0" in data:
        assert relative_error(first[0], data["pr379_block0"]) <= 2e-6


def test_the_camera_branch_is_not_that_of_diffusers(network, golden_io):
    data = {name.removeprefix("a."): value for name, value in golden_io.items() if name.startswith("a.")}
    with ExactSoftmax():
        out = velocities(network, data)
    assert relative_error(out, data["out_renorm_fp32sdpa"]) > 1e-2


def test_bfloat16_features_meet_a_float32_state(network, golden_io):
    """Half-precision operands are no reason for a half-precision recurrence."""
    from sana_wm_mps import kernels

    torch.manual_seed(0)
    batch, heads, head_dim, frames, spatial = 1, 2, 8, 60, 6
    shape = (batch, heads, head_dim, frames * spatial)
    q, k, v = (torch.randn(shape) for _ in range(3))
    k = k / 8
    beta = torch.rand(batch, heads, frames, spatial)
    decay = torch.full((batch, heads, frames), 0.999)
    exact = kernels.cam_scan_bidi_chunkwise(*(x.double().float() for x in (q, k, v)), beta, decay)
    rounded = kernels.cam_scan_bidi_chunkwise(*(x.bfloat16() for x in (q, k, v)), beta, decay)
    assert rounded.dtype == torch.float32
    assert relative_error(rounded, exact) < 2**-7


@pytest.mark.parametrize("head_dim", [8, 112])
def test_the_mass_of_a_lone_frame_is_the_plain_sum(package, head_dim):
    """With one frame nothing decays and nothing is corrected: softmax-free linear attention, by its formula."""
    from sana_wm_mps import kernels

    torch.manual_seed(0)
    batch, heads, spatial = 2, 3, 5
    qkv = torch.randn(batch, spatial, 3, heads, head_dim)
    ones, zeros = torch.ones(spatial, head_dim), torch.zeros(spatial, head_dim)
    weight = torch.ones(heads * head_dim)
    beta = torch.rand(batch, heads, 1, spatial)
    inverse = kernels.fused_qk_inv_rms(qkv, eps=1e-5)
    out = kernels.fused_bigdn_func(
        qkv, *inverse, weight, weight, ones, zeros, beta, torch.ones(batch, heads, 1), F=1, S=spatial, k_scale=0.1
    )
    q, k = ((part * rms[..., None, None]).relu().double() for part, rms in zip(qkv.unbind(2)[:2], inverse, strict=True))
    gates = (beta[:, :, 0] * 0.1).transpose(1, 2)[..., None].double()
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k * gates)
    expected = torch.einsum("bhqk,bkhd->bqhd", scores, qkv[:, :, 2].double())
    expected = expected / (scores.sum(-1).transpose(1, 2)[..., None] + 1e-6)
    assert relative_error(out, expected) < 1e-5
