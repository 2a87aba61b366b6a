"""Intrinsics `[fx, fy, cx, cy]`, and the resize-and-crop that an image and its intrinsics go through together.

Source: `prepare_camera_trajectory`, `resize_and_center_crop` and `transform_intrinsics_for_crop` of diffusers'
SANA-WM pipeline, and the same of NVlabs/Sana PR #379.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sana_wm.camera.arrays import load_npy
from sana_wm.errors import UsageError

EXPECTED_SHAPES = "(4,), (3, 3), (F, 4) or (F, 3, 3), matrices also as 4x4"


@dataclass(frozen=True)
class CropGeometry:
    """How an image becomes its crop: scaled as a whole, then cut in the middle.

    Attributes:
        src_size: Width, height before, in pixels.
        resized_size: Width, height after scaling.
        crop_offset: Left, top of the crop in the scaled image.
    """

    src_size: tuple[int, int]
    resized_size: tuple[int, int]
    crop_offset: tuple[int, int]


def read_intrinsics(source: Path | Sequence[float], num_frames: int) -> NDArray[np.float32]:
    """Intrinsics of every frame, in pixels of the input image.

    Args:
        source: A `.npy` of one of `EXPECTED_SHAPES`, or the four numbers `[fx, fy, cx, cy]`.
        num_frames: Frames of the video. One set of intrinsics serves all of them; of a longer per-frame array the
            first `num_frames` rows are taken.

    Returns:
        (num_frames, 4) float32, `[fx, fy, cx, cy]`.

    Raises:
        UsageError: Not readable, the wrong shape, too few rows, not a camera matrix, or not positive.
    """
    if isinstance(source, Path):
        where, values = f" file: {source}", load_npy(source, holds="intrinsics", expected=EXPECTED_SHAPES)
    else:
        where, values = ": the list", np.asarray(source, dtype=np.float64)
    return rows_per_frame(intrinsics_rows(values, where), num_frames, where)


def intrinsics_rows(values: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """`[fx, fy, cx, cy]`, (1, 4) or (F, 4), of intrinsics in any of `EXPECTED_SHAPES`.

    Args:
        values: As the file holds them.
        where: Follows "the intrinsics" in messages.

    Raises:
        UsageError: Another shape, not a camera matrix, or not positive.
    """
    # Four rows of four numbers are no intrinsics of four frames: the shortest video has nine.
    if values.ndim in (2, 3) and values.shape[-2:] in ((3, 3), (4, 4)):
        values = _from_camera_matrices(values, where)
    if values.shape == (4,):
        values = values[None]
    if values.ndim != 2 or values.shape[1] != 4 or len(values) == 0:
        raise UsageError(
            f"wrong shape in the intrinsics{where}",
            got=values.shape,
            expected=EXPECTED_SHAPES,
            next_step="Give fx, fy, cx, cy in pixels of the input image, once or once a frame.",
        )
    return values


def rows_per_frame(rows: NDArray[np.float64], num_frames: int, where: str) -> NDArray[np.float32]:
    """One row serves all frames; of more, the first `num_frames` are taken.

    Raises:
        UsageError: There are fewer, or one is not usable.
    """
    values = np.repeat(rows, num_frames, axis=0) if len(rows) == 1 else rows
    if len(values) < num_frames:
        raise UsageError(
            f"too few rows in the intrinsics{where}",
            got=len(values),
            expected=f"{num_frames} or more, one a frame",
            next_step="Give a row for each frame, or the four numbers once for all.",
        )
    values = values[:num_frames]
    _check_values(values, where)
    return values.astype(np.float32)


def crop_geometry(src_size: tuple[int, int], *, height: int, width: int) -> CropGeometry:
    """The smallest scaled image that covers `height` x `width`, and its middle.

    Args:
        src_size: Width, height of the image, in pixels (`Image.size`).
        height: Of the crop, in pixels.
        width: Of the crop, in pixels.

    Returns:
        Sizes rounded as upstream rounds them: half to even for the scaled size, down for the offset.
    """
    src_width, src_height = src_size
    scale = max(height / src_height, width / src_width)
    resized_width, resized_height = max(width, round(src_width * scale)), max(height, round(src_height * scale))
    return CropGeometry(
        src_size, (resized_width, resized_height), ((resized_width - width) // 2, (resized_height - height) // 2)
    )


def resize_and_center_crop(image: Image.Image, *, height: int, width: int) -> Image.Image:
    """Scale an RGB image until it covers `height` x `width` (Lanczos), then cut out its middle."""
    geometry = crop_geometry(image.size, height=height, width=width)
    left, top = geometry.crop_offset
    resized = image.resize(geometry.resized_size, Image.Resampling.LANCZOS)
    return resized.crop((left, top, left + width, top + height))


def crop_intrinsics(intrinsics: NDArray[np.float32], geometry: CropGeometry) -> NDArray[np.float32]:
    """Intrinsics (..., 4) of the input image, in pixels of its crop; float32."""
    scale_x, scale_y = np.divide(geometry.resized_size, geometry.src_size)
    left, top = geometry.crop_offset
    scaled = intrinsics.astype(np.float64) * (scale_x, scale_y, scale_x, scale_y)
    return (scaled - (0, 0, left, top)).astype(np.float32)


def _from_camera_matrices(matrices: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """`[fx, fy, cx, cy]` of camera matrices (..., 3, 3) or (..., 4, 4), otherwise the identity."""
    vectors = matrices[..., [0, 1, 0, 1], [0, 1, 2, 2]]
    rest = matrices.copy()
    rest[..., [0, 1, 0, 1], [0, 1, 2, 2]] = (1, 1, 0, 0)
    if not np.allclose(rest, np.eye(matrices.shape[-1]), rtol=0, atol=1e-3):
        raise UsageError(
            f"not a pinhole camera matrix in the intrinsics{where}",
            got="skew, or a last row that is not 0 0 1",
            expected="[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]",
            next_step="Save untransposed matrices in pixels, scaled to K[2][2] = 1.",
        )
    return vectors


def _check_values(values: NDArray[np.float64], where: str) -> None:
    valid = np.isfinite(values).all(axis=1) & (values[:, :2] > 0).all(axis=1)
    if not valid.all():
        row = int(valid.argmin())
        raise UsageError(
            f"unusable numbers in row {row} of the intrinsics{where}",
            got=values[row].tolist(),
            expected="finite fx, fy, cx, cy with fx and fy over 0",
            next_step="Give fx, fy, cx, cy in pixels of the input image, in this order.",
        )
