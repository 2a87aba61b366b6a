"""A softmax block's self-attention: projections a few frames at a time, attention over all tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sana_wm.models.attention import AttentionBudget, attention
from sana_wm.models.pacing import paced
from sana_wm.models.stage1.memory import NO_MEMORY, BlockMemory, ChunkKeys
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
    SoftmaxModule,
    frame_chunks,
    merge_branches,
    project_qkv,
    split_heads,
)
from sana_wm.planning.kernels import kernel_rules


@dataclass(frozen=True)
class Operands:
    """What the kernel attends with; heads may be wider than the network's, with zeros behind.

    Attributes:
        query: (T, B, S, H, width).
        key: (P + T, B, S, H, width), the keys of P earlier frames first.
        value: The same shape.
        head_dim: Channels of a head that count.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    head_dim: int

    @property
    def past_frames(self) -> int:
        """P."""
        return len(self.key) - len(self.query)

    def of(self, frames: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of some of the T frames, without the channels that only widen them."""
        behind = slice(frames.start + self.past_frames, frames.stop + self.past_frames)
        query, key, value = self.query[frames], self.key[behind], self.value[behind]
        return query[..., : self.head_dim], key[..., : self.head_dim], value[..., : self.head_dim]


class SoftmaxAttention:
    """Softmax attention with its camera branch, on the parameters of the loaded module.

    Args:
        module: The block's attention module.
        rescale_camera: Whether camera queries, keys and values are scaled back to their former RMS
            (docs/differences.md).
        norm_eps: Epsilon of the layer norm.
        attention_dtype: What queries, keys and values are rounded to; `None` leaves them in the model's dtype.
        budget: Limit for a score matrix.
        scale: Factor on the scores of the main branch.
        camera_scale: Factor on those of the camera branch.

    Source: diffusers `_SoftmaxUCPESinglePathLiteLA` and the two modules in it.
    """

    def __init__(
        self,
        module: SoftmaxModule,
        *,
        rescale_camera: bool,
        norm_eps: float,
        attention_dtype: torch.dtype | None,
        budget: AttentionBudget,
        scale: float,
        camera_scale: float,
    ) -> None:
        self.module = module
        self.scale, self.camera_scale = scale, camera_scale
        self.rescale_camera = rescale_camera
        self.norm_eps = norm_eps
        self.attention_dtype = attention_dtype
        self.budget = budget
        self.head_dim = int(module.dim)

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

        Arguments and result as of `DeltaNetAttention.add_to`.
        """
        chunks = frame_chunks(len(x), frames_per_chunk)
        modulated = torch.empty_like(x)
        for frames in paced(chunks, x.device):
            shift, scale, _ = modulation.of(frames)
            modulate(x[frames], shift, scale, self.norm_eps, out=modulated[frames])
        kept: list[Tensor] | None = [] if keep else None
        main = self._attend_main(modulated, positions, chunks, past, kept)
        camera = self._attend_camera(modulated, positions, chunks, past, kept)
        for frames in paced(chunks, x.device):
            out = merge_branches(modulated[frames], main[frames], camera[frames], self.module)
            x[frames].addcmul_(modulation.of(frames).gate, out)
        return NO_MEMORY if kept is None else BlockMemory(keys=(ChunkKeys(*kept),))

    def _attend_main(
        self,
        modulated: Tensor,
        positions: Positions,
        chunks: list[slice],
        past: BlockMemory,
        kept: list[Tensor] | None,
    ) -> Tensor:
        operands = self._empty_operands(modulated, [(chunk.key, chunk.value) for chunk in past.keys])
        for frames in paced(chunks, modulated.device):
            rotation = positions.of(frames, modulated.shape[1]).rotation
            self._write_main(modulated[frames], rotation, operands.of(frames))
        _keep(operands, kept)
        return self._attend(operands, scale=self.scale, out=torch.empty_like(modulated))

    def _write_main(self, modulated: Tensor, rotation: Rotation, out: tuple[Tensor, Tensor, Tensor]) -> None:
        module = self.module
        query, key, value = out
        rotate(
            split_heads(normalize(project_qkv(modulated, module, "query"), module.q_norm), self.head_dim),
            rotation,
            query,
        )
        rotate(
            split_heads(normalize(project_qkv(modulated, module, "key"), module.k_norm), self.head_dim), rotation, key
        )
        value.copy_(split_heads(project_qkv(modulated, module, "value"), self.head_dim))

    def _attend_camera(
        self,
        modulated: Tensor,
        positions: Positions,
        chunks: list[slice],
        past: BlockMemory,
        kept: list[Tensor] | None,
    ) -> Tensor:
        operands = self._empty_operands(modulated, [(chunk.camera_key, chunk.camera_value) for chunk in past.keys])
        for frames in paced(chunks, modulated.device):
            rays = positions.of(frames, modulated.shape[1]).rays
            self._write_camera(modulated[frames], rays, operands.of(frames))
        _keep(operands, kept)
        out = self._attend(operands, scale=self.camera_scale, out=torch.empty_like(modulated))
        for frames in paced(chunks, modulated.device):
            rays = positions.of(frames, modulated.shape[1]).rays
            seen = split_heads(out[frames], self.head_dim)
            from_rays(seen, rays.output, rays.rotation, seen)
        return out

    def _write_camera(self, modulated: Tensor, rays: RayTransforms, out: tuple[Tensor, Tensor, Tensor]) -> None:
        module = self.module
        query, key, value = out
        self._write_rays(normalize(module.q_proj_cam(modulated), module.q_norm_cam), rays.query, rays.rotation, query)
        self._write_rays(normalize(module.k_proj_cam(modulated), module.k_norm_cam), rays.key_value, rays.rotation, key)
        self._write_rays(module.v_proj_cam(modulated), rays.key_value, rays.rotation, value)

    def _write_rays(self, projected: Tensor, matrix: Tensor, rotation: Rotation, out: Tensor) -> None:
        before = split_heads(projected, self.head_dim)
        to_rays(before, matrix, rotation, out)
        if self.rescale_camera:
            out.mul_(rescale_factor(mean_square(before), mean_square(out)))

    def _empty_operands(self, x: Tensor, past: Sequence[tuple[Tensor, Tensor]]) -> Operands:
        """Operands for `x` (T, B, S, C) behind the keys and values of earlier frames."""
        past_frames = sum(len(key) for key, _ in past)
        query, key, value = (self._empty_operand(x, len(x) + frames) for frames in (0, past_frames, past_frames))
        start = 0
        for past_key, past_value in past:
            frames = slice(start, start + len(past_key))
            key[frames, ..., : self.head_dim] = past_key
            value[frames, ..., : self.head_dim] = past_value
            start = frames.stop
        return Operands(query, key, value, self.head_dim)

    def _empty_operand(self, x: Tensor, frames: int) -> Tensor:
        """(frames, B, S, H, width) in memory order (B, frames, S, H, width); the width is what a kernel takes."""
        _, batch, spatial, _ = x.shape
        rules = kernel_rules(x.device.type, torch.__version__)
        width = rules.kernel_head_dim(self.head_dim) or self.head_dim
        shape = (batch, frames, spatial, int(self.module.heads), width)
        operand = torch.empty(shape, dtype=self.attention_dtype or x.dtype, device=x.device)
        operand[..., self.head_dim :] = 0
        return operand.transpose(0, 1)

    def _attend(self, operands: Operands, *, scale: float, out: Tensor) -> Tensor:
        """Attention over all tokens of an item, item by item, into `out` (T, B, S, C)."""
        heads = split_heads(out, self.head_dim)
        for item in range(out.shape[1]):
            q, k, v = (
                operand[:, item].flatten(0, 1).transpose(0, 1)[None]
                for operand in (operands.query, operands.key, operands.value)
            )
            heads[:, item] = (
                attention(q, k, v, scale=scale, budget=self.budget)[0, ..., : self.head_dim]
                .transpose(0, 1)
                .unflatten(0, (len(out), -1))
            )
        return out


def _keep(operands: Operands, kept: list[Tensor] | None) -> None:
    """Copy this chunk's keys and values: a view would keep those of earlier chunks alive."""
    if kept is not None:
        _, key, value = operands.of(slice(0, len(operands.query)))
        kept += [key.clone(), value.clone()]


def widened_scale(head_dim: int) -> float:
    """The scale where upstream widens heads with zeros for its kernel and scales by the widened head dim."""
    if head_dim in (32, 64, 128, 256) or head_dim > 256:
        return head_dim**-0.5
    return (128 if head_dim <= 128 else 256) ** -0.5
