"""Layer norm with the timestep's shift and scale, and the gate on what a branch adds to the residual stream."""

from __future__ import annotations

from typing import NamedTuple, cast

from diffusers.models.normalization import RMSNorm
from torch import Tensor, nn
from torch.nn import functional as F


class Modulation(NamedTuple):
    """Shift, scale and gate of one branch, each (T, 1, 1, C); the scale already has its 1 added.

    There is one row instead of T where all frames share a timestep.
    """

    shift: Tensor
    scale: Tensor
    gate: Tensor

    def of(self, frames: slice) -> Modulation:
        """The modulation of some frames."""
        return self if len(self.shift) == 1 else Modulation(*(rows[frames] for rows in self))


def branch_modulations(table: Tensor, timestep_embedding: Tensor) -> tuple[Modulation, Modulation]:
    """The modulations of self-attention and of feed-forward.

    Args:
        table: (6, C), the block's `scale_shift_table`.
        timestep_embedding: (T, 6, C), or one row for all frames.
    """
    parts = (table + timestep_embedding)[:, None, None].unbind(3)
    attention, feed_forward = parts[:3], parts[3:]
    return (
        Modulation(attention[0], 1 + attention[1], attention[2]),
        Modulation(feed_forward[0], 1 + feed_forward[1], feed_forward[2]),
    )


def modulate(x: Tensor, shift: Tensor, scale: Tensor, eps: float, out: Tensor) -> Tensor:
    """Layer norm of `x`, times `scale`, plus `shift`, in one pass: they are the norm's weight and bias.

    Args:
        x: (T, B, S, C).
        shift: (T, 1, 1, C), a pass for each frame; or (1, 1, 1, C), one pass for all.
        scale: The same shape.
        eps: Of the norm.
        out: (T, B, S, C), receives and is the result.
    """
    if len(shift) == 1:
        return out.copy_(F.layer_norm(x, x.shape[-1:], scale[0, 0, 0], shift[0, 0, 0], eps))
    for index, frame in enumerate(x):
        out[index] = F.layer_norm(frame, x.shape[-1:], scale[index, 0, 0], shift[index, 0, 0], eps)
    return out


def normalize(x: Tensor, norm: nn.Module) -> Tensor:
    """RMS norm over the last dim with the module's weight, in one pass where torch has a kernel for it."""
    weighted = cast(RMSNorm, norm)
    return F.rms_norm(x, x.shape[-1:], weighted.weight, weighted.eps)
