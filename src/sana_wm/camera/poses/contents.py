"""What a poses file says: matrices in its own convention, and perhaps times and intrinsics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sana_wm.errors import UsageError
from sana_wm.names import PosesConvention

Array = NDArray[np.float64]

#: Most that a width and a height may be scaled differently: sizes are whole numbers of pixels.
PROPORTION_TOLERANCE = 0.01


class StatedIntrinsics(Protocol):
    """Intrinsics that a poses file states."""

    def for_picture(self, width: int, height: int) -> Array:
        """`[fx, fy, cx, cy]`, (1, 4) or (F, 4), in pixels of a picture of this size."""
        ...


@dataclass(frozen=True, eq=False)
class PixelIntrinsics:
    """Intrinsics as numbers.

    Attributes:
        rows: (1, 4) or (F, 4) `[fx, fy, cx, cy]`.
        picture_size: Width, height of the picture whose pixels they count; (1, 1) for shares of width and height;
            `None` where the file does not say: the input image's.
    """

    rows: Array
    picture_size: tuple[float, float] | None = None

    def for_picture(self, width: int, height: int) -> Array:
        """In pixels of a picture of this size.

        Raises:
            UsageError: They are of a picture of other proportions.
        """
        if self.picture_size is None:
            return self.rows
        scale_x, scale_y = width / self.picture_size[0], height / self.picture_size[1]
        if self.picture_size != (1, 1) and abs(scale_x / scale_y - 1) > PROPORTION_TOLERANCE:
            raise UsageError(
                "the intrinsics in the poses file are of a picture of other proportions",
                got=f"{self.picture_size[0]:g}x{self.picture_size[1]:g}",
                expected=f"those of the input image, {width}x{height}",
                next_step="Take that picture, or give camera.intrinsics in pixels of the input image.",
            )
        return self.rows * (scale_x, scale_y, scale_x, scale_y)


@dataclass(frozen=True)
class ViewAngle:
    """A centred camera with square pixels, of which only the horizontal field of view is stated, in radians."""

    horizontal_rad: float

    def for_picture(self, width: int, height: int) -> Array:
        """In pixels of a picture of this size."""
        focal_px = width / 2 / math.tan(self.horizontal_rad / 2)
        return np.array([[focal_px, focal_px, width / 2, height / 2]])


@dataclass(frozen=True, eq=False)
class PosesFile:
    """What a poses file holds, as it holds it.

    Attributes:
        matrices: (F, 4, 4) poses in `convention`.
        convention: What its format, or a name in it, says of them.
        times_s: (F,) seconds, where the file has times.
        intrinsics: Where the file states them.
        notes: What a user should be told of the reading.
    """

    matrices: Array
    convention: PosesConvention
    times_s: Array | None = None
    intrinsics: StatedIntrinsics | None = None
    notes: tuple[str, ...] = ()


def four_by_four(matrices: Array) -> Array:
    """(F, 4, 4) of (F, 3, 4) or (F, 4, 4)."""
    if matrices.shape[1:] == (4, 4):
        return matrices
    last_row = np.broadcast_to(np.array([0.0, 0.0, 0.0, 1.0]), (len(matrices), 1, 4))
    return np.concatenate([matrices, last_row], axis=1)


def are_poses(values: NDArray[np.generic]) -> bool:
    """Whether an array has the shape of poses, (F, 4, 4) or (F, 3, 4)."""
    return values.ndim == 3 and values.shape[1:] in ((4, 4), (3, 4)) and len(values) > 0
