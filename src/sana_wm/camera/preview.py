"""A guess of what a camera path shows: the first frame, laid over a bare scene and seen along the path.

The scene is a level ground and a distant backdrop. It knows nothing of the picture, so nearby things bend: it is there
to show the motion before hours are spent on it, not the video.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.trajectory import Trajectory

Array = NDArray[np.float32]

#: The backdrop lies this many times the path's reach away, and at least that many scene units.
BACKDROP_REACH, MIN_BACKDROP = 3.0, 10.0
#: Where the picture does not reach: lines each 15 degrees on the backdrop and each scene unit on the ground.
LINE_STEP_DEG, LINE_STEP_UNITS, FADED_UNITS = 15.0, 1.0, 12.0
BACKDROP_COLOUR, GROUND_COLOUR, LINE_COLOUR = np.array([(44, 48, 58), (60, 56, 50), (128, 132, 140)], dtype=np.float32)


@dataclass(frozen=True)
class Scene:
    """What the picture is laid over; level with the first camera.

    Attributes:
        backdrop: Radius of a sphere around the start, in scene units.
        camera_height: Of the first camera over the ground, in scene units; `None` leaves the ground out, so that all
            of the picture has one depth.
    """

    backdrop: float
    camera_height: float | None


def reach(trajectory: Trajectory) -> float:
    """How far from its start a path gets, in scene units."""
    positions = trajectory.c2w[:, :3, 3].astype(np.float64)
    return float(np.linalg.norm(positions - positions[0], axis=1).max())


def fitting_backdrop(trajectory: Trajectory) -> float:
    """A backdrop that the path comes nowhere near."""
    return max(MIN_BACKDROP, BACKDROP_REACH * reach(trajectory))


def render_preview(
    picture: NDArray[np.uint8], intrinsics: NDArray[np.floating], trajectory: Trajectory, scene: Scene, *, scale: int
) -> Iterator[NDArray[np.uint8]]:
    """The frames of a path, one by one.

    Args:
        picture: First frame, uint8 (scale * h, scale * w, 3).
        intrinsics: (F, 4) fx, fy, cx, cy in pixels of a frame of h x w.
        trajectory: F poses.
        scene: What the picture is laid over.
        scale: How many times finer the picture is than the frames: it is seen from nearer later.

    Yields:
        uint8 (h, w, 3).
    """
    height, width = picture.shape[0] // scale, picture.shape[1] // scale
    poses = np.linalg.inv(trajectory.c2w[0].astype(np.float64)) @ trajectory.c2w.astype(np.float64)
    first = np.asarray(intrinsics[0], dtype=np.float32)
    padded = np.pad(picture, ((0, 1), (0, 1), (0, 0)), mode="edge").astype(np.float32)
    planes = np.ascontiguousarray(padded.transpose(2, 0, 1))
    for pose, (fx, fy, cx, cy) in zip(poses.astype(np.float32), intrinsics.astype(np.float32), strict=True):
        x = (np.arange(width, dtype=np.float32) + np.float32(0.5) - cx) / fx
        y = (np.arange(height, dtype=np.float32) + np.float32(0.5) - cy) / fy
        rays = [pose[axis, 0] * x + (pose[axis, 1] * y + pose[axis, 2])[:, None] for axis in range(3)]
        points, on_ground, distance = _meet(rays, pose[:3, 3], scene)
        yield _colour(points, on_ground, distance, planes, first, scale)


def _meet(rays: list[Array], origin: Array, scene: Scene) -> tuple[list[Array], NDArray[np.bool_], Array]:
    """Where rays (3 of (h, w)) meet the scene, whether on the ground, and how far along."""
    along = rays[0] * origin[0] + rays[1] * origin[1] + rays[2] * origin[2]
    squared = rays[0] * rays[0] + rays[1] * rays[1] + rays[2] * rays[2]
    outside = np.float32(origin @ origin - np.float32(scene.backdrop) ** 2)  # below 0: the path stays inside
    steps = (np.sqrt(np.maximum(along * along - squared * outside, 0)) - along) / squared
    on_ground = np.zeros(steps.shape, dtype=bool)
    if scene.camera_height is not None:
        above = np.float32(scene.camera_height) - origin[1]
        with np.errstate(divide="ignore"):
            ground = above / rays[1]
        on_ground = (ground > 0) & (ground < steps)
        steps = np.where(on_ground, ground, steps)
    return [origin[axis] + steps * rays[axis] for axis in range(3)], on_ground, steps


def _colour(
    points: list[Array], on_ground: NDArray[np.bool_], distance: Array, planes: Array, intrinsics: Array, scale: int
) -> NDArray[np.uint8]:
    """What scene points look like: the picture where the first camera saw them, else lines to see the motion by."""
    fx, fy, cx, cy = intrinsics
    X, Y, Z = points
    with np.errstate(divide="ignore", invalid="ignore"):
        column = (fx * X / Z + cx) * scale - np.float32(0.5)
        row = (fy * Y / Z + cy) * scale - np.float32(0.5)
    bottom, right = planes.shape[1] - 2, planes.shape[2] - 2
    seen = (Z > 0) & (column >= -0.5) & (column <= right + 0.5) & (row >= -0.5) & (row <= bottom + 0.5)
    frame = np.empty((*seen.shape, 3), dtype=np.uint8)
    frame[seen] = _sample(planes, row[seen].clip(0, bottom), column[seen].clip(0, right))
    unseen = ~seen
    if unseen.any():
        frame[unseen] = _lines(X[unseen], Y[unseen], Z[unseen], on_ground[unseen], distance[unseen])
    return frame


def _sample(planes: Array, row: Array, column: Array) -> NDArray[np.uint8]:
    """Bilinear, (n, 3), of (3, H, W): colours first, because numpy is slow where the last axis has three elements."""
    top, left = row.astype(np.int32), column.astype(np.int32)
    down, across = row - top, column - left
    width = planes.shape[2]
    flat, start = planes.reshape(3, -1), top * width + left
    upper_left, upper_right, lower_left, lower_right = (
        flat.take(start + step, axis=1) for step in (0, 1, width, width + 1)
    )
    upper = upper_left + (upper_right - upper_left) * across
    lower = lower_left + (lower_right - lower_left) * across
    return (upper + (lower - upper) * down + np.float32(0.5)).astype(np.uint8).T


def _lines(x: Array, y: Array, z: Array, on_ground: NDArray[np.bool_], distance: Array) -> NDArray[np.uint8]:
    """Colours (n, 3) of points that the picture does not show."""
    meridian = np.degrees(np.arctan2(x, z)) / LINE_STEP_DEG
    parallel = np.degrees(np.arctan2(y, np.hypot(x, z))) / LINE_STEP_DEG
    across = np.where(on_ground, x / LINE_STEP_UNITS, meridian)
    along = np.where(on_ground, z / LINE_STEP_UNITS, parallel)
    half_width = np.where(on_ground, 0.01 + 0.003 * distance, 0.015)
    nearest = np.minimum(np.abs(across - np.rint(across)), np.abs(along - np.rint(along)))
    far = np.where(on_ground, np.maximum(0, 1 - distance / FADED_UNITS), 1)  # thin lines far off would only flicker
    strength = np.where(nearest < half_width, far, 0)[:, None]
    plain = np.where(on_ground[:, None], GROUND_COLOUR, BACKDROP_COLOUR)
    return (plain + strength * (LINE_COLOUR - plain)).astype(np.uint8)
