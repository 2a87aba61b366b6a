"""Intrinsics `[fx, fy, cx, cy]`, and the resize-and-crop that an image and its intrinsics go through together.

Source: `prepare_camera_trajectory`, `resize_and_center_crop` and `transform_intrinsics_for_crop` of diffusers'
SANA-WM pipeline, and the same of NVlabs/Sana PR #379.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sana_wm.camera.arrays import load_npy
from sana_wm.camera.crop import CENTRE, Crop, crop_shares
from sana_wm.errors import UsageError

#: Beyond this a picture is cut before it is scaled. Below, the whole is scaled first, as upstream does to the last bit.
MAX_RESIZED_PIXELS = 16_000_000
#: Pixels on either side that Lanczos weighs: of the image where it is enlarged, else of the result.
LANCZOS_REACH = 3
EXPECTED_SHAPES = "(4,), (3, 3), (F, 4) or (F, 3, 3), matrices also as 4x4"


@dataclass(frozen=True)
class CropGeometry:
    """How an image becomes its crop: scaled as a whole, then cut.

    Attributes:
        src_size: Width, height before, in pixels.
        resized_size: Width, height after scaling.
        crop_offset: Left, top of the crop in the scaled image.
        crop_size: Width, height of the crop.
    """

    src_size: tuple[int, int]
    resized_size: tuple[int, int]
    crop_offset: tuple[int, int]
    crop_size: tuple[int, int]

    @property
    def cut_px(self) -> tuple[int, int]:
        """What is cut off of the scaled image's width and height."""
        (width, height), (kept_width, kept_height) = self.resized_size, self.crop_size
        return width - kept_width, height - kept_height

    @property
    def cuts_across(self) -> bool:
        """Whether it is left and right that something is cut off, not above and below."""
        return self.cut_px[0] > self.cut_px[1]

    @property
    def kept_share(self) -> float:
        """How much of the image the crop shows."""
        return math.prod(self.crop_size) / math.prod(self.resized_size)

    @property
    def kept_box_px(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the crop in pixels of the image."""
        scale_x, scale_y = np.divide(self.resized_size, self.src_size).tolist()
        (left, top), (width, height) = self.crop_offset, self.crop_size
        return left / scale_x, top / scale_y, (left + width) / scale_x, (top + height) / scale_y


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


def crop_geometry(src_size: tuple[int, int], *, height: int, width: int, crop: Crop = CENTRE) -> CropGeometry:
    """The smallest scaled image that covers `height` x `width`, and the part of it that is kept.

    Args:
        src_size: Width, height of the image, in pixels (`Image.size`).
        height: Of the crop, in pixels.
        width: Of the crop, in pixels.
        crop: Where it lies; upstream knows the centre only.

    Returns:
        Sizes rounded as upstream rounds them: half to even for the scaled size, down for the offset.
    """
    src_width, src_height = src_size
    scale = max(height / src_height, width / src_width)
    resized_width, resized_height = max(width, round(src_width * scale)), max(height, round(src_height * scale))
    left_share, top_share = crop_shares(crop)
    offset = math.floor((resized_width - width) * left_share), math.floor((resized_height - height) * top_share)
    return CropGeometry(src_size, (resized_width, resized_height), offset, (width, height))


def resize_and_crop(image: Image.Image, geometry: CropGeometry) -> Image.Image:
    """Scale an RGB image (Lanczos), and cut out its part.

    A thin or small picture would become huge before it is cut: of such, only what the crop needs is scaled. Both ways
    agree but for the rounding of Lanczos weights.
    """
    (left, top), (width, height) = geometry.crop_offset, geometry.crop_size
    if math.prod(geometry.resized_size) > MAX_RESIZED_PIXELS:
        return _cut_then_scale(image, geometry)
    resized = image.resize(geometry.resized_size, Image.Resampling.LANCZOS)
    return resized.crop((left, top, left + width, top + height))


def _cut_then_scale(image: Image.Image, geometry: CropGeometry) -> Image.Image:
    """The crop from what of the image it needs: its part, and around it what Lanczos reaches."""
    scale_x, scale_y = np.divide(geometry.resized_size, geometry.src_size)
    (left, top), (width, height) = geometry.crop_offset, geometry.crop_size
    reach_x, reach_y = (math.ceil(LANCZOS_REACH * max(scale, 1.0)) for scale in (scale_x, scale_y))
    first_x, first_y = max(left - reach_x, 0), max(top - reach_y, 0)
    last_x = min(left + width + reach_x, geometry.resized_size[0])
    last_y = min(top + height + reach_y, geometry.resized_size[1])
    box = (first_x / scale_x, first_y / scale_y, last_x / scale_x, last_y / scale_y)
    part = image.resize((last_x - first_x, last_y - first_y), Image.Resampling.LANCZOS, box=box)
    left, top = left - first_x, top - first_y
    return part.crop((left, top, left + width, top + height))


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
