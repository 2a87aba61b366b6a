"""A camera preview as a file: MP4, or what pages show by themselves. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.intrinsics import resize_and_crop
from sana_wm.camera.motion import read_keys
from sana_wm.camera.preview import Scene, reach, render_preview
from sana_wm.drafting.camera_view import CameraView, Lens
from sana_wm.errors import UsageError
from sana_wm.manifest.model import VideoSection
from sana_wm.video import animation
from sana_wm.video.encoder import VideoEncoder
from sana_wm.video.picture import open_picture
from sana_wm.video.preview_overlay import PreviewOverlay

#: A preview has half of the video's width and height, or more where it would be less wide than this.
VIDEO_SHARE, LEAST_WIDTH_PX = 0.5, 640
#: The picture it is made of is finer than its frames: it is seen from nearer later.
PICTURE_SCALE = 2
SUFFIXES = (".mp4", *animation.SUFFIXES)


@dataclass(frozen=True)
class WrittenPreview:
    """What a preview file holds.

    Attributes:
        num_frames: Frames of the path.
        every: Each how many-th of them the file shows; 1: all.
        fps: Frames of the path a second.
        width: Pixels.
        height: Pixels.
        num_bytes: Of the file.
    """

    num_frames: int
    every: int
    fps: int
    width: int
    height: int
    num_bytes: int

    @property
    def told(self) -> str:
        """In words."""
        frames = f"{self.num_frames} frames"
        if self.every > 1:
            frames = f"1 in {self.every} of {frames}"
        size = f"{self.num_bytes / 1e6:.1f} MB" if self.num_bytes >= 1e6 else f"{self.num_bytes / 1e3:.0f} kB"
        return f"{frames}, {self.num_frames / self.fps:.1f} s, {self.width}x{self.height}, {size}"


def preview_size(video: VideoSection) -> tuple[int, int]:
    """Width and height of the preview of a video, in pixels; even, as MP4 wants them."""
    share = max(VIDEO_SHARE, LEAST_WIDTH_PX / video.width)
    return 2 * round(video.width * share / 2), 2 * round(video.height * share / 2)


def write_preview(view: CameraView, scene: Scene, out: Path) -> WrittenPreview:
    """Render a preview with its keys and its time, as MP4, WebP or GIF by the name's suffix; whole or not at all.

    Raises:
        UsageError: There is no picture, the name has another suffix, the path leaves the scene, or a GIF or WebP of it
            would be too large.
    """
    if (lens := view.lens) is None:
        raise UsageError("a preview needs a picture", expected="a MANIFEST, or --image beside --move or --action")
    if (suffix := out.suffix.lower()) not in SUFFIXES:
        raise UsageError(
            "a preview is an MP4, a WebP or a GIF", got=out.name, expected=f"a name ending in {', '.join(SUFFIXES)}"
        )
    path = view.shown
    if scene.backdrop <= (farthest := reach(path)):
        raise UsageError(
            "the camera path leaves the scene",
            got=f"a backdrop at {scene.backdrop:g} scene units",
            expected=f"more than {farthest:.2f}, which is how far the path gets",
            next_step="Leave --backdrop out, or raise it.",
        )
    width, height = preview_size(view.video)
    fps, every = view.video.fps, 1
    geometry = lens.geometry(height=height * PICTURE_SCALE, width=width * PICTURE_SCALE)
    picture = np.asarray(resize_and_crop(open_picture(lens.picture).image, geometry))
    if suffix == ".mp4":
        with VideoEncoder(out, width=width, height=height, fps=fps, preset="veryfast") as encoder:
            for frame in preview_frames(view, lens, picture, scene):
                encoder.put(frame[None])
    else:
        every = animation.write_animation(lambda: preview_frames(view, lens, picture, scene), out, fps=fps).every
    return WrittenPreview(len(path), every, fps, width, height, out.stat().st_size)


def preview_frames(
    view: CameraView, lens: Lens, picture: NDArray[np.uint8], scene: Scene
) -> Iterator[NDArray[np.uint8]]:
    """The frames of a preview with their overlay, one by one.

    Args:
        view: The camera.
        lens: Its lens.
        picture: The first frame, uint8 (PICTURE_SCALE * h, PICTURE_SCALE * w, 3).
        scene: What the picture is laid over.

    Yields:
        uint8 (h, w, 3).
    """
    path = view.shown
    height, width = picture.shape[0] // PICTURE_SCALE, picture.shape[1] // PICTURE_SCALE
    intrinsics = lens.cropped(height=height, width=width)
    intrinsics = np.broadcast_to(intrinsics, (len(path), 4)) if len(intrinsics) == 1 else intrinsics
    overlay = PreviewOverlay(read_keys(path), fps=view.video.fps, width=width, height=height)
    for index, frame in enumerate(render_preview(picture, intrinsics, path, scene, scale=PICTURE_SCALE)):
        overlay.draw(frame, index)
        yield frame
