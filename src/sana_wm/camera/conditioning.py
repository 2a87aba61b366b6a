"""What the transformer needs of a camera path, computed once for all denoising steps.

diffusers derives the ray matrices from the raymap on the device, in the model's dtype, at every forward; in bfloat16
that puts a camera 16 units from its start off by 0.15. Here everything is float64 until the end.

Source: `prepare_camera` of diffusers' SANA-WM pipeline and `_process_camera_conditions_ucpe` of its transformer (UCPE,
pinhole case); Plücker coordinates as in arXiv 2605.15178.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.rigid import rigid_inverse

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CameraConditioning:
    """The transformer's camera inputs: T latent frames of h x w tokens, N = T * h * w; all float32.

    Poses are relative to the first one; intrinsics are in latent pixels; the ray of a token goes through its integer
    pixel coordinates, without a half-pixel offset.

    Attributes:
        raymap: (T, 20), the latent frame's c2w (16, row by row), then fx, fy, cx, cy.
        chunk_plucker: (48, T, h, w), Plücker coordinates (direction, moment) of 8 video frames a latent frame. Latent
            frame k covers video frames 8k-7 to 8k; latent frame 0, as upstream has it, covers 0 to 7.
        P: (N, 4, 4), world to ray coordinates, in which the token's ray is +z; tokens by frame, row, column.
        P_inv: (N, 4, 4), ray to world coordinates.

    Upstream also makes a map of each ray's latitude and of where up is, embeds it and never reads it: it is left out.
    """

    raymap: NDArray[np.float32]
    chunk_plucker: NDArray[np.float32]
    P: NDArray[np.float32]
    P_inv: NDArray[np.float32]


def condition_camera(
    c2w: NDArray[np.float32],
    intrinsics: NDArray[np.float32],
    *,
    height: int,
    width: int,
    vae_temporal_compression_ratio: int = 8,
    vae_spatial_compression_ratio: int = 32,
) -> CameraConditioning:
    """Compute the transformer's camera inputs (patch size 1, as every released model has).

    Args:
        c2w: (F, 4, 4) poses, OpenCV axes, F = 8k + 1.
        intrinsics: (F, 4) `[fx, fy, cx, cy]` in pixels of the cropped image.
        height: Of the cropped image, in pixels.
        width: Of the cropped image, in pixels.
        vae_temporal_compression_ratio: Video frames a latent frame.
        vae_spatial_compression_ratio: Pixels a latent pixel.
    """
    latent_height, latent_width = height // vae_spatial_compression_ratio, width // vae_spatial_compression_ratio
    poses = _relative_to_first(c2w.astype(np.float64))
    scale_x, scale_y = latent_width / width, latent_height / height
    intrinsics_latent = intrinsics.astype(np.float64) * (scale_x, scale_y, scale_x, scale_y)
    directions = _ray_directions(intrinsics_latent, latent_height, latent_width)
    rays = np.einsum("fij,fhwj->fhwi", poses[:, :3, :3], directions)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)

    stride = vae_temporal_compression_ratio
    kept = slice(None, None, stride)
    P, P_inv = _ray_matrices(poses[kept], rays[kept])
    return CameraConditioning(
        raymap=np.concatenate([poses[kept].reshape(-1, 16), intrinsics_latent[kept]], axis=1).astype(np.float32),
        chunk_plucker=_chunk_plucker(poses[:, :3, 3], rays, stride).astype(np.float32),
        P=P.astype(np.float32),
        P_inv=P_inv.astype(np.float32),
    )


def _relative_to_first(c2w: Array) -> Array:
    """Poses (F, 4, 4) seen from the first camera; the first becomes the identity exactly."""
    poses = rigid_inverse(c2w[:1]) @ c2w
    poses[0] = np.eye(4)
    return poses


def _ray_directions(intrinsics: Array, height: int, width: int) -> Array:
    """Pinhole rays (F, h, w, 3) with z = 1, in camera coordinates."""
    fx, fy, cx, cy = intrinsics.T[:, :, None, None]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return np.stack(np.broadcast_arrays((x - cx) / fx, (y - cy) / fy, np.float64(1.0)), axis=-1)


def _chunk_plucker(origins: Array, rays: Array, stride: int) -> Array:
    """(6 * stride, T, h, w): (ray, origin x ray) of `stride` video frames are the channels of a latent frame."""
    num_frames, height, width, _ = rays.shape
    moments = np.cross(origins[:, None, None, :], rays)
    plucker = np.concatenate([rays, moments], axis=-1).transpose(0, 3, 1, 2)
    starts = np.maximum(np.arange(0, num_frames, stride) - (stride - 1), 0)
    frames = np.minimum(starts[:, None] + np.arange(stride), num_frames - 1)
    return plucker[frames].reshape(len(starts), 6 * stride, height, width).swapaxes(0, 1)


def _ray_matrices(poses: Array, rays: Array) -> tuple[Array, Array]:
    """`P` (world to ray) and `P_inv` (ray to world), (T * h * w, 4, 4).

    A ray's frame has z along the ray, x square to z and to the camera's y axis, and the camera's position as origin.
    """
    camera_y = poses[:, None, None, :3, 1]
    x_axis = np.cross(camera_y, rays)
    x_axis /= np.linalg.norm(x_axis, axis=-1, keepdims=True)
    world_from_ray = np.zeros((*rays.shape[:-1], 4, 4))
    world_from_ray[..., :3, :3] = np.stack([x_axis, np.cross(rays, x_axis), rays], axis=-1)
    world_from_ray[..., :3, 3] = poses[:, None, None, :3, 3]
    world_from_ray[..., 3, 3] = 1.0
    world_from_ray = world_from_ray.reshape(-1, 4, 4)
    return rigid_inverse(world_from_ray), world_from_ray
