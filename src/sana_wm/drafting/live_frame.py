"""The last frame of a camera path that is still being made, quickly: what `camera preview` would show there."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.intrinsics import CropGeometry, resize_and_crop
from sana_wm.camera.preview import Scene, fitting_backdrop, render_preview
from sana_wm.camera.trajectory import Trajectory
from sana_wm.drafting.camera_preview import PICTURE_SCALE
from sana_wm.drafting.camera_view import CameraView
from sana_wm.errors import UsageError
from sana_wm.video.picture import open_picture

#: Over the ground, in scene units; as of `camera preview`.
CAMERA_HEIGHT = 1.6
#: Wide enough to steer by, small enough to be drawn while a key is held.
LIVE_WIDTH_PX = 320


def draw_last_frame(view: CameraView) -> NDArray[np.uint8]:
    """Draw it, uint8 (h, w, 3), `LIVE_WIDTH_PX` wide.

    Args:
        view: With a picture.

    Raises:
        UsageError: There is no picture.
        PictureError: It cannot be used.
    """
    if view.lens is None:
        raise UsageError("a preview needs a picture", expected="a picture beside the moves")
    width = LIVE_WIDTH_PX
    height = round(width * view.video.height / view.video.width)
    path = view.lens.picture
    geometry = view.lens.geometry(height=height * PICTURE_SCALE, width=width * PICTURE_SCALE)
    picture = _scaled(path, path.stat().st_mtime_ns, geometry)
    ends = Trajectory(view.trajectory.c2w[[0, -1]])
    rows = view.lens.cropped(height=height, width=width)
    intrinsics = rows[[0, min(len(view.trajectory), len(rows)) - 1]]
    scene = Scene(fitting_backdrop(view.trajectory), CAMERA_HEIGHT)
    *_, last = render_preview(picture, intrinsics, ends, scene, scale=PICTURE_SCALE)
    return last


def view_with_size(view: CameraView, *, width: int, height: int) -> CameraView:
    """The same camera for a video of another size."""
    return replace(view, video=view.video.model_copy(update={"width": width, "height": height}))


@lru_cache(maxsize=2)
def _scaled(path: Path, modified_ns: int, geometry: CropGeometry) -> NDArray[np.uint8]:
    del modified_ns  # only tells one content of the path from the next
    return np.asarray(resize_and_crop(open_picture(path).image, geometry))
