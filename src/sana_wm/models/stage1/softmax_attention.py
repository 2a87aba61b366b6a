"""A softmax block's self-attention: projections a few frames at a time, attention over all tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from sana_wm.models.attention import AttentionBudget, attention
from sana_wm.models.pacing import paced
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


class SoftmaxAttention:
    """Softmax attention with its camera branch, on the parameters of the loaded module.

    Args:
        module: The block's attention module.
        rescale_camera: Whether camera queries, keys and values are scaled back to their former RMS
            (docs/differences.md).
        norm_eps: Epsilon of the layer norm.
        attention_dtype: What queries, keys and values are rounded to; `None` leaves them in the model's dtype.
        budget: Limit for a score matrix.

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
    ) -> None:
        self.module = module
        self.rescale_camera = rescale_camera
        self.norm_eps = norm_eps
        self.attention_dtype = attention_dtype
        self.budget = budget
        self.head_dim = int(module.dim)

    def add_to(self, x: Tensor, modulation: Modulation, positions: Positions, frames_per_chunk: int) -> None:
        """Add the block's self-attention to the residual stream `x` (T, B, S, C), in place."""
        chunks = frame_chunks(len(x), frames_per_chunk)
        modulated = torch.empty_like(x)
        for frames in paced(chunks, x.device):
            shift, scale = modulation.shift[frames], modulation.scale[frames]
            modulate(x[frames], shift, scale, self.norm_eps, out=modulated[frames])
        main = self._attend_main(modulated, positions, chunks)
        camera = self._attend_camera(modulated, positions, chunks)
        for frames in paced(chunks, x.device):
            out = merge_branches(modulated[frames], main[frames], camera[frames], self.module)
            x[frames].addcmul_(modulation.gate[frames], out)

    def _attend_main(self, modulated: Tensor, positions: Positions, chunks: list[slice]) -> Tensor:
        operands = [self._empty_operand(modulated) for _ in range(3)]
        for frames in paced(chunks, modulated.device):
            rotation = positions.of(frames, modulated.shape[1]).rotation
            self._write_main(modulated[frames], rotation, [self._cut(operand, frames) for operand in operands])
        return self._attend(*operands, scale=self.head_dim**-0.5, out=torch.empty_like(modulated))

    def _write_main(self, modulated: Tensor, rotation: Rotation, out: list[Tensor]) -> None:
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

    def _attend_camera(self, modulated: Tensor, positions: Positions, chunks: list[slice]) -> Tensor:
        operands = [self._empty_operand(modulated) for _ in range(3)]
        for frames in paced(chunks, modulated.device):
            rays = positions.of(frames, modulated.shape[1]).rays
            self._write_camera(modulated[frames], rays, [self._cut(operand, frames) for operand in operands])
        out = self._attend(*operands, scale=camera_softmax_scale(self.head_dim), out=torch.empty_like(modulated))
        for frames in paced(chunks, modulated.device):
            rays = positions.of(frames, modulated.shape[1]).rays
            seen = split_heads(out[frames], self.head_dim)
            from_rays(seen, rays.output, rays.rotation, seen)
        return out

    def _write_camera(self, modulated: Tensor, rays: RayTransforms, out: list[Tensor]) -> None:
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

    def _cut(self, operand: Tensor, frames: slice) -> Tensor:
        """Some frames of an operand, without the channels that only widen it."""
        return operand[frames, ..., : self.head_dim]

    def _empty_operand(self, x: Tensor) -> Tensor:
        """(T, B, S, H, width) in memory order (B, T, S, H, width); the width is what the device's kernel takes."""
        frames, batch, spatial, _ = x.shape
        rules = kernel_rules(x.device.type, torch.__version__)
        width = rules.kernel_head_dim(self.head_dim) or self.head_dim
        shape = (batch, frames, spatial, int(self.module.heads), width)
        operand = torch.empty(shape, dtype=self.attention_dtype or x.dtype, device=x.device)
        operand[..., self.head_dim :] = 0
        return operand.transpose(0, 1)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, *, scale: float, out: Tensor) -> Tensor:
        """Attention over all tokens of an item, item by item; operands (T, B, S, H, width), `out` (T, B, S, C)."""
        heads = split_heads(out, self.head_dim)
        for item in range(out.shape[1]):
            q, k, v = (operand[:, item].flatten(0, 1).transpose(0, 1)[None] for operand in (query, key, value))
            heads[:, item] = (
                attention(q, k, v, scale=scale, budget=self.budget)[0, ..., : self.head_dim]
                .transpose(0, 1)
                .unflatten(0, (len(out), -1))
            )
        return out


def camera_softmax_scale(head_dim: int) -> float:
    """The scale of the camera branch: upstream widens its heads with zeros and scales by the widened head dim."""
    if head_dim in (32, 64, 128, 256) or head_dim > 256:
        return head_dim**-0.5
    return (128 if head_dim <= 128 else 256) ** -0.5
