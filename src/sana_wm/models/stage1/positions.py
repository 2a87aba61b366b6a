"""Where a token is: rotary angles on the latent grid, and the camera's ray transform, in real arithmetic.

Both write their result in a *planar* order inside the head (all first components of the pairs, then all second ones).
Queries and keys share that order, so products between them do not see it, and nothing is interleaved on the way out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel
from torch import Tensor

from sana_wm.errors import UsageError


@dataclass(frozen=True)
class Rotation:
    """Rotary angles as two real tables of shape (T, B, S, 1, pairs), float32."""

    cos: Tensor
    sin: Tensor


@dataclass(frozen=True)
class RayTransforms:
    """The camera's transform of each token into the space of its ray and back.

    The first half of a head is read as 4-vectors and multiplied by a 4x4 matrix, the second half is rotated.

    Attributes:
        query: (T, B, S, 1, 1, 4, 4) float32, transposed ray-from-world matrices.
        key_value: The same shape, world-from-ray matrices.
        output: The same shape, ray-from-world matrices.
        rotation: Angles for the second half of a head.

    Source: Unified Camera Positional Encoding as SANA-WM uses it, diffusers `_apply_ucpe_transform`.
    """

    query: Tensor
    key_value: Tensor
    output: Tensor
    rotation: Rotation


@dataclass(frozen=True)
class Positions:
    """Where every token is, for the main and for the camera branch.

    Tables are the same for every item of a batch, yet are held once per item: an elementwise pass over (T, B, S) then
    sees one dim instead of three, which on CUDA makes it a third faster.
    """

    rotation: Rotation
    rays: RayTransforms

    def of(self, frames: slice, batch: int) -> Positions:
        """The positions of some frames, for `batch` items."""
        return self._map(lambda table: table[frames, :batch])

    def repeat(self, batch: int) -> Positions:
        """The tables of one item, for `batch` items."""
        return self._map(lambda table: table.repeat(1, batch, *(1,) * (table.ndim - 2)))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Positions:
        def rotation(tables: Rotation) -> Rotation:
            return Rotation(change(tables.cos), change(tables.sin))

        rays = self.rays
        return Positions(
            rotation(self.rotation),
            RayTransforms(change(rays.query), change(rays.key_value), change(rays.output), rotation(rays.rotation)),
        )


def build_rotations(
    transformer: SanaWMTransformer3DModel, grid: tuple[int, int, int], device: torch.device, first_frame: int = 0
) -> tuple[Rotation, Rotation]:
    """The rotary tables of the whole head and of its second half, made on the CPU.

    Args:
        transformer: The loaded network, for its table of angles.
        grid: Latent frames, height, width.
        device: Where the real tables go; the complex one never leaves the CPU.
        first_frame: Where in the video the grid's first latent frame is.

    Raises:
        UsageError: The network's table of angles ends before the last frame.
    """
    last = first_frame + grid[0]
    if last > transformer.rope.max_seq_len:
        raise UsageError(
            "the video is longer than the network can count",
            got=f"{last} latent frames",
            expected=f"at most {transformer.rope.max_seq_len}",
            next_step="Ask for fewer frames.",
        )
    head_dim = int(transformer.config["linear_head_dim"])
    # A head of `dim` channels splits its pairs over time, height and width as dim/2 - 2*(dim//6), dim//6, dim//6.
    # The half head takes the first angles of each axis.
    axis, half_axis = head_dim // 6, head_dim // 2 // 6
    time = head_dim // 2 - 2 * axis
    cpu = torch.device("cpu")
    times = transformer.rope((last, 1, 1), device=cpu)[0, 0, first_frame:, None, :time]
    plane = transformer.rope((1, *grid[1:]), device=cpu)[0, 0, None, :, time:]
    table = torch.cat([times.expand(-1, plane.shape[1], -1), plane.expand(grid[0], -1, -1)], dim=2).flatten(0, 1)
    half_time = head_dim // 4 - 2 * half_axis
    half_table = torch.cat(
        [
            table[:, :half_time],
            table[:, time : time + half_axis],
            table[:, time + axis : time + axis + half_axis],
        ],
        dim=1,
    )

    def split(complex_table: Tensor) -> Rotation:
        frames = complex_table.reshape(grid[0], 1, grid[1] * grid[2], 1, -1)
        return Rotation(frames.real.contiguous().to(device), frames.imag.contiguous().to(device))

    return split(table), split(half_table)


def build_ray_transforms(
    ray_from_world: Tensor, world_from_ray: Tensor, rotation: Rotation, grid: tuple[int, int, int], device: torch.device
) -> RayTransforms:
    """Arrange the camera's matrices by frame and token.

    Args:
        ray_from_world: (N, 4, 4) float32, P of each token, frame by frame.
        world_from_ray: (N, 4, 4) float32, its inverse.
        rotation: Angles for the second half of a head.
        grid: Latent frames, height, width.
        device: Where the matrices go.
    """

    def arrange(matrices: Tensor) -> Tensor:
        tokens = matrices.float().reshape(grid[0], 1, grid[1] * grid[2], 1, 1, 4, 4)
        return tokens.contiguous().to(device)

    return RayTransforms(
        arrange(ray_from_world.transpose(-1, -2)), arrange(world_from_ray), arrange(ray_from_world), rotation
    )


def rotate(x: Tensor, rotation: Rotation, out: Tensor) -> None:
    """Rotate the interleaved pairs of `x` (T, B, S, H, D) into `out` (same shape, any strides), planar."""
    pairs = x.float().unflatten(-1, (-1, 2))
    first, second = pairs[..., 0], pairs[..., 1]
    half = first.shape[-1]
    out[..., :half] = (first * rotation.cos).addcmul_(second, rotation.sin, value=-1)
    out[..., half:] = (first * rotation.sin).addcmul_(second, rotation.cos)


def to_rays(x: Tensor, matrix: Tensor, rotation: Rotation, out: Tensor) -> None:
    """Take tokens into ray space.

    Args:
        x: (T, B, S, H, D); each 4-vector and pair interleaved.
        matrix: (T, B, S, 1, 1, 4, 4) float32.
        rotation: Angles for the second half of a head.
        out: (T, B, S, H, D), any strides; the second half comes out planar.
    """
    half = x.shape[-1] // 2
    out[..., :half] = _transform_vectors(x[..., :half], matrix)
    rotate(x[..., half:], rotation, out[..., half:])


def from_rays(x: Tensor, matrix: Tensor, rotation: Rotation, out: Tensor) -> None:
    """Take the attention's result (T, B, S, H, D), second half planar, back into world space, interleaved.

    `out` may be `x`: everything is read before anything is written.
    """
    half = x.shape[-1] // 2
    first, second = x[..., half:].float().chunk(2, dim=-1)
    rotated_first = (first * rotation.cos).addcmul_(second, rotation.sin)
    rotated_second = (second * rotation.cos).addcmul_(first, rotation.sin, value=-1)
    out[..., :half] = _transform_vectors(x[..., :half], matrix)
    pairs = out[..., half:].unflatten(-1, (-1, 2))
    pairs[..., 0] = rotated_first
    pairs[..., 1] = rotated_second


def _transform_vectors(x: Tensor, matrix: Tensor) -> Tensor:
    """Multiply each 4-vector of `x` (..., 4 n) by its token's matrix; float32."""
    vectors = x.float().unflatten(-1, (-1, 4))
    out = vectors[..., 0:1] * matrix[..., 0]
    for column in range(1, 4):
        out.addcmul_(vectors[..., column : column + 1], matrix[..., column])
    return out.flatten(-2)


def rescale_factor(before_square: Tensor, after_square: Tensor, *, scale_square: float = 1.0) -> Tensor:
    """The factor that brings a head back to its former RMS where a transform made it larger, else 1.

    Args:
        before_square: Mean square of the head before the transform, float32.
        after_square: Mean square after it.
        scale_square: Square of a factor that upstream multiplies into both before taking the RMS. It matters because
            of the epsilon, 1e-6, under both roots.

    Source: diffusers `_downscale_to_reference_rms`.
    """
    eps = 1e-6
    before, after = before_square * scale_square + eps, after_square * scale_square + eps
    return (before / after).sqrt().clamp(max=1.0)


def mean_square(x: Tensor) -> Tensor:
    """Mean square over the last dim, kept as (..., 1), in float32."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return norm.square() / x.shape[-1]
