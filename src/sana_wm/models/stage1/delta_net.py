"""A delta-net block's self-attention, a few frames at a time.

Three sweeps over the frames: project the keys (the short convolution needs their neighbours in time), make the state
matrices, run the recurrence, then read it with the queries. Nothing is kept at full length but the modulated input and
the two sets of keys; everything else lives for one chunk of frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from diffusers.models.transformers.transformer_sana_wm import SanaWMTemporalShortConvolution
from torch import Tensor
from torch.nn import functional as F

from sana_wm.models.pacing import paced
from sana_wm.models.stage1.delta_rule import bmm_float32, cross, gram, read, scan, store_transition
from sana_wm.models.stage1.memory import NO_MEMORY, BlockMemory, DeltaNetMemory
from sana_wm.models.stage1.modulation import Modulation, modulate, normalize
from sana_wm.models.stage1.positions import (
    Positions,
    RayTransforms,
    Rotation,
    from_rays,
    mean_square,
    rescale_factor,
    rotate,
    to_rays,
)
from sana_wm.models.stage1.self_attention import (
    DeltaNetModule,
    by_token,
    empty_by_head,
    frame_chunks,
    merge_branches,
    project_qkv,
    split_heads,
    zero_framed,
)
from sana_wm.models.stage1.short_convolution import convolve_frames, reach_of


@dataclass(frozen=True)
class StateMatrices:
    """Where the transition and the update of each frame go: (T, B, H, D, D) float32 each."""

    transitions: Tensor
    updates: Tensor


@dataclass(frozen=True)
class Projections:
    """What the first sweep leaves for the others.

    Attributes:
        modulated: (T, B, S, C), the block's input after norm and modulation.
        keys: (T + 2 reach, B, S, C), keys of the main branch before their convolution.
        camera_keys: The same of the camera branch.
        root_beta: (T, B, S, H, 1), root of the write gate.
        decay: (T, B, H) float32, how much of the state each frame keeps.
    """

    modulated: Tensor
    keys: Tensor
    camera_keys: Tensor
    root_beta: Tensor
    decay: Tensor


class DeltaNetAttention:
    """Bidirectional gated delta net with its camera branch, on the parameters of the loaded module.

    Args:
        module: The block's attention module.
        rescale_camera: Whether camera queries, keys and values are scaled back to their former RMS
            (docs/differences.md).
        norm_eps: Epsilon of the layer norm.
        carry_camera_keys: Whether the camera branch's convolution looks back into the chunk before.

    Source: diffusers `BidirectionalGDNUCPESinglePathLiteLA` and the two modules in it.
    """

    def __init__(
        self, module: DeltaNetModule, *, rescale_camera: bool, norm_eps: float, carry_camera_keys: bool = True
    ) -> None:
        self.module = module
        self.carry_camera_keys = carry_camera_keys
        self.rescale_camera = rescale_camera
        self.norm_eps = norm_eps
        self.head_dim = int(module.dim)
        self.key_convolution = cast(SanaWMTemporalShortConvolution, module.conv_k)
        self.camera_key_convolution = cast(SanaWMTemporalShortConvolution, module.conv_k_cam)

    def add_to(
        self,
        x: Tensor,
        modulation: Modulation,
        positions: Positions,
        frames_per_chunk: int,
        past: BlockMemory = NO_MEMORY,
        *,
        keep: bool = False,
    ) -> BlockMemory:
        """Add the block's self-attention to the residual stream `x` (T, B, S, C), in place.

        Args:
            x: The residual stream.
            modulation: Of the self-attention.
            positions: Of all frames.
            frames_per_chunk: How many frames are worked on together.
            past: What earlier frames left.
            keep: Whether to return what these frames leave.
        """
        chunks = frame_chunks(len(x), frames_per_chunk)
        projections = self._project(x, modulation, chunks, past.delta_net)
        states = self._run_recurrence(projections, positions, chunks, past.delta_net)
        memory = self._remember(projections, states) if keep else NO_MEMORY
        branches = states[:, :2].to(x.dtype)
        normalizer = _block_diagonal(states[:, 2, ..., 0].to(x.dtype))
        del states
        for frames in paced(chunks, x.device):
            modulated = projections.modulated[frames]
            here = positions.of(frames, x.shape[1])
            main = self._read_main(modulated, branches[frames, 0], normalizer[frames], here.rotation)
            camera = self._read_camera(modulated, branches[frames, 1], here.rays)
            out = merge_branches(modulated, main, camera, self.module)
            x[frames].addcmul_(modulation.of(frames).gate, out)
        return memory

    def _remember(self, projections: Projections, states: Tensor) -> BlockMemory:
        """Copies: a view would keep the whole chunk alive."""
        last = slice(len(states), len(states) + reach_of(self.key_convolution))
        camera_keys = projections.camera_keys[last].clone() if self.carry_camera_keys else None
        return BlockMemory(delta_net=DeltaNetMemory(states[-1].clone(), projections.keys[last].clone(), camera_keys))

    def _project(
        self, x: Tensor, modulation: Modulation, chunks: list[slice], past: DeltaNetMemory | None
    ) -> Projections:
        module, total = self.module, len(x)
        reach = reach_of(self.key_convolution)
        modulated = torch.empty_like(x)
        keys = zero_framed(total, reach, x, None if past is None else past.keys)
        camera_keys = zero_framed(total, reach, x, None if past is None else past.camera_keys)
        gates: list[Tensor] = []
        means: list[Tensor] = []
        for frames in paced(chunks, x.device):
            shift, scale, _ = modulation.of(frames)
            part = modulate(x[frames], shift, scale, self.norm_eps, out=modulated[frames])
            shifted = slice(frames.start + reach, frames.stop + reach)
            keys[shifted] = project_qkv(part, module, "key")
            camera_keys[shifted] = module.k_proj_cam(part)
            gates.append(module.beta_proj(part))
            means.append(part.mean(dim=2))
        root_beta = torch.cat(gates).float().sigmoid().sqrt().to(x.dtype)[..., None]
        softplus = F.softplus(module.gate_proj(torch.cat(means)).float() + module.dt_bias.float())
        decay = (-module.A_log.float().exp() * softplus).exp()
        return Projections(modulated, keys, camera_keys, root_beta, decay)

    def _run_recurrence(
        self, projections: Projections, positions: Positions, chunks: list[slice], past: DeltaNetMemory | None
    ) -> Tensor:
        """The states that each frame reads, (T, 3, B, H, D, D) float32: main, camera, and the main branch's mass.

        The mass, a vector, rides along as the first column of a third matrix: one scan of three is faster than two.
        """
        total, batch = projections.modulated.shape[:2]
        heads, head_dim = projections.decay.shape[2], self.head_dim
        matrix = (total, 3, batch, heads, head_dim, head_dim)
        transitions = torch.empty(matrix, dtype=torch.float32, device=projections.modulated.device)
        updates = torch.empty_like(transitions)
        for frames in paced(chunks, transitions.device):
            here = positions.of(frames, batch)
            main, camera, mass = (
                StateMatrices(transitions[frames, branch], updates[frames, branch]) for branch in range(3)
            )
            self._write_main(projections, frames, here.rotation, main, mass)
            self._write_camera(projections, frames, here.rays, camera)
        initial = None if past is None else past.states.flatten(0, 2)
        return scan(transitions.flatten(1, 3), updates.flatten(1, 3), initial).view(matrix)

    def _key_scale(self, projections: Projections) -> float:
        """What upstream multiplies keys by; here it goes into the state matrices, which are smaller."""
        return (self.head_dim * projections.modulated.shape[2]) ** -0.5

    def _write_main(
        self, projections: Projections, frames: slice, rotation: Rotation, state: StateMatrices, mass: StateMatrices
    ) -> None:
        """State matrices of the main branch: rotated keys carry the values, unrotated ones the mass."""
        module = self.module
        root_beta, decay = projections.root_beta[frames], projections.decay[frames]
        scale = self._key_scale(projections)
        keys = normalize(convolve_frames(projections.keys, self.key_convolution, frames), module.k_norm).relu_()
        keys = split_heads(keys, self.head_dim).mul_(root_beta)
        values = split_heads(project_qkv(projections.modulated[frames], module, "value"), self.head_dim)
        by_head = empty_by_head(keys)
        values_by_head = empty_by_head(keys)
        torch.mul(values, root_beta, out=by_token(values_by_head))
        rotate(keys, rotation, by_token(by_head))
        weight = torch.full_like(decay, scale**2)
        store_transition(gram(by_head), weight, decay, state.transitions)
        torch.mul(cross(by_head, values_by_head), scale, out=state.updates)
        by_token(by_head).copy_(keys)
        store_transition(gram(by_head), weight, decay, mass.transitions)
        mass.updates.zero_()
        mass.updates[..., :1] = cross(by_head, by_token(root_beta).contiguous()) * scale

    def _write_camera(self, projections: Projections, frames: slice, rays: RayTransforms, state: StateMatrices) -> None:
        """State matrices of the camera branch; its write gate is lowered where the transform made keys longer."""
        module = self.module
        root_beta, decay = projections.root_beta[frames], projections.decay[frames]
        scale = self._key_scale(projections)
        keys = normalize(
            convolve_frames(projections.camera_keys, self.camera_key_convolution, frames), module.k_norm_cam
        )
        keys = split_heads(keys.relu_(), self.head_dim)
        values = split_heads(module.v_proj_cam(projections.modulated[frames]), self.head_dim)
        before = mean_square(keys)
        keys_by_head, values_by_head = empty_by_head(keys), empty_by_head(keys)
        to_rays(keys, rays.key_value, rays.rotation, by_token(keys_by_head))
        to_rays(values, rays.key_value, rays.rotation, by_token(values_by_head))
        after = mean_square(by_token(keys_by_head))
        if self.rescale_camera:
            factor = rescale_factor(before, after, scale_square=scale**2)
            by_token(keys_by_head).mul_(factor)
            after = after * factor.square()
            factor = rescale_factor(mean_square(values), mean_square(by_token(values_by_head)))
            by_token(values_by_head).mul_(factor)
        # In the order of what it multiplies: a pass with fewer dims is a third faster (H200).
        root_beta = by_token(root_beta).contiguous()
        keys_by_head.mul_(root_beta)
        values_by_head.mul_(root_beta)
        # Upstream bounds the lengths of scaled keys by 1e-6 before it divides them.
        floor = 1e-12 / (scale**2 * self.head_dim)
        growth = (after.clamp_min(floor) / before.clamp_min(floor)).mean(dim=2)[..., 0].clamp_min(1.0)
        store_transition(gram(keys_by_head), scale**2 / growth, decay, state.transitions)
        torch.mul(cross(keys_by_head, values_by_head), (scale / growth)[..., None, None], out=state.updates)

    def _read_main(self, modulated: Tensor, states: Tensor, normalizer: Tensor, rotation: Rotation) -> Tensor:
        module = self.module
        flat = normalize(project_qkv(modulated, module, "query"), module.q_norm).relu_()
        queries = split_heads(flat, self.head_dim)
        by_head = empty_by_head(queries)
        rotate(queries, rotation, by_token(by_head))
        mass = bmm_float32(flat.flatten(0, 1), normalizer.flatten(0, 1)).view(queries.shape[:-1])
        out = by_token(read(by_head, states)).div_(mass[..., None] + module.eps)
        return queries.copy_(out).flatten(-2)

    def _read_camera(self, modulated: Tensor, states: Tensor, rays: RayTransforms) -> Tensor:
        module = self.module
        queries = split_heads(normalize(module.q_proj_cam(modulated), module.q_norm_cam).relu_(), self.head_dim)
        by_head = empty_by_head(queries)
        to_rays(queries, rays.query, rays.rotation, by_token(by_head))
        if self.rescale_camera:
            by_token(by_head).mul_(rescale_factor(mean_square(queries), mean_square(by_token(by_head))))
        from_rays(by_token(read(by_head, states)), rays.output, rays.rotation, queries)
        return queries.flatten(-2)


def _block_diagonal(x: Tensor) -> Tensor:
    """(T, B, H, D) -> (T, B, H*D, H), so that one matrix product sums each head of a token with its own weights."""
    frames, batch, heads, head_dim = x.shape
    out = x.new_zeros((frames, batch, heads, head_dim, heads))
    out.diagonal(dim1=2, dim2=4).copy_(x.transpose(2, 3))
    return out.flatten(2, 3)
