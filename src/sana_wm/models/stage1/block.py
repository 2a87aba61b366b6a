"""One transformer block: self-attention, camera rays, text attention, feed-forward."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from diffusers.models.transformers.transformer_sana_wm import GLUMBConvTemp, SanaVideoMSCamCtrlBlock
from torch import Tensor

from sana_wm.models.attention import AttentionBudget
from sana_wm.models.pacing import end_piece, paced
from sana_wm.models.stage1.conditioning import PluckerProjection, Stage1Conditioning
from sana_wm.models.stage1.delta_net import DeltaNetAttention
from sana_wm.models.stage1.feed_forward import (
    arrange_temporal_weight,
    spatial_feed_forward,
    temporal_feed_forward,
    temporal_weight,
)
from sana_wm.models.stage1.memory import NO_MEMORY, BlockMemory
from sana_wm.models.stage1.modulation import Modulation, branch_modulations, modulate
from sana_wm.models.stage1.self_attention import DeltaNetModule, frame_chunks, zero_framed
from sana_wm.models.stage1.softmax_attention import SoftmaxAttention, widened_scale
from sana_wm.models.stage1.text_attention import TextKeys, add_text_attention
from sana_wm.names import CameraRescale, StreamingVersion


class Stage1Block:
    """A block of the loaded transformer, computed lean.

    Args:
        block: The loaded block; its parameters are read, and one of them is laid out anew.
        camera_rescale: As of `Stage1Engine`.
        attention_dtype: What softmax self-attention computes in.
        budget: Limit for a score matrix.
        streaming_version: As of `Stage1Engine`.

    Source: diffusers `SanaVideoMSCamCtrlBlock`.
    """

    def __init__(
        self,
        block: SanaVideoMSCamCtrlBlock,
        *,
        camera_rescale: CameraRescale,
        attention_dtype: torch.dtype | None,
        budget: AttentionBudget,
        streaming_version: StreamingVersion | None = None,
    ) -> None:
        self.block = block
        self.budget = budget
        arrange_temporal_weight(cast(GLUMBConvTemp, block.mlp))
        norm_eps = float(block.norm1.eps)
        if isinstance(block.attn, DeltaNetModule):
            self.self_attention = DeltaNetAttention(
                block.attn,
                rescale_camera=camera_rescale == "diffusers",
                norm_eps=norm_eps,
                carry_camera_keys=streaming_version != "release401",
            )
        else:
            head_dim = int(block.attn.dim)
            widened = widened_scale(head_dim)
            self.self_attention = SoftmaxAttention(
                block.attn,
                rescale_camera=camera_rescale in ("diffusers", "pr379"),
                norm_eps=norm_eps,
                attention_dtype=attention_dtype,
                budget=budget,
                scale=widened if streaming_version == "release401" else head_dim**-0.5,
                camera_scale=head_dim**-0.5 if streaming_version == "main" else widened,
            )

    def forward(
        self,
        x: Tensor,
        timestep_embedding: Tensor,
        text: tuple[TextKeys, ...],
        plucker_projection: PluckerProjection | None,
        conditioning: Stage1Conditioning,
        past: BlockMemory = NO_MEMORY,
        *,
        keep: bool = False,
    ) -> tuple[Tensor, BlockMemory]:
        """The residual stream after this block, and what its frames leave for later ones.

        Args:
            x: (T, B, S, C), overwritten; B may be 1 while there are more prompts, since nothing before the first text
                attention depends on the prompt.
            timestep_embedding: (T, 6, C), or one row for all frames.
            text: Text keys, one per prompt.
            plucker_projection: The block's projection of the camera rays.
            conditioning: Positions, rays and plan.
            past: What earlier frames left.
            keep: Whether what these frames leave is wanted; otherwise `NO_MEMORY` comes back.
        """
        plan = conditioning.plan
        modulation, feed_forward_modulation = branch_modulations(self.block.scale_shift_table, timestep_embedding)
        memory = self.self_attention.add_to(
            x, modulation, conditioning.positions, plan.attention_frames, past, keep=keep
        )
        if x.shape[1] < len(text):
            x = x.expand(-1, len(text), -1, -1).contiguous()
        end_piece(x.device)
        for frames in paced(frame_chunks(len(x), plan.attention_frames), x.device):
            if plucker_projection is not None:
                rays = conditioning.plucker[frames].expand(-1, len(text), -1, -1)
                x[frames].flatten(0, 2).addmm_(rays.flatten(0, 2), plucker_projection.weight)
            add_text_attention(x[frames], self.block.cross_attn, text, self.budget)
        last = self._add_feed_forward(x, feed_forward_modulation, conditioning, past.feed_forward)
        return x, replace(memory, feed_forward=last.clone()) if keep else NO_MEMORY

    def _add_feed_forward(
        self, x: Tensor, modulation: Modulation, conditioning: Stage1Conditioning, before: Tensor | None
    ) -> Tensor:
        """The last frames before the convolution over time, a view."""
        mlp = cast(GLUMBConvTemp, self.block.mlp)
        total, (height, width) = len(x), conditioning.grid[1:]
        chunks = frame_chunks(total, conditioning.plan.feed_forward_frames)
        reach = mlp.t_conv.kernel_size[0] // 2
        result = zero_framed(total, reach, x, before)
        eps = float(self.block.norm2.eps)
        for frames in paced(chunks, x.device):
            shift, scale, _ = modulation.of(frames)
            part = modulate(x[frames], shift, scale, eps, out=torch.empty_like(x[frames]))
            out = result[frames.start + reach : frames.stop + reach]
            spatial_feed_forward(part.flatten(0, 1), mlp, height, width, out.flatten(0, 1))
        weight = temporal_weight(mlp)
        for frames in paced(chunks, x.device):
            x[frames].addcmul_(modulation.of(frames).gate, temporal_feed_forward(result, weight, frames))
        return result[total : total + reach]
