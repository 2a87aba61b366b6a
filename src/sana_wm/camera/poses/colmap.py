"""COLMAP's text model: `images.txt`, with `cameras.txt` beside it.

Source: colmap.github.io/format.html and colmap.github.io/cameras.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sana_wm.camera.poses.contents import PixelIntrinsics, PosesFile
from sana_wm.camera.poses.order import order_by_name
from sana_wm.camera.poses.text import MAX_BYTES, is_number
from sana_wm.camera.rigid import matrices_from_quaternions
from sana_wm.errors import UsageError
from sana_wm.text.reading import read_text

#: Where fx, fy, cx, cy stand among a model's parameters; further ones are lens distortion.
PINHOLE_PARAMETERS: dict[str, tuple[int, int, int, int]] = {
    **dict.fromkeys(("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL"), (0, 0, 1, 2)),
    **dict.fromkeys(("PINHOLE", "OPENCV", "FULL_OPENCV"), (0, 1, 2, 3)),
}
CAMERAS_FILE = "cameras.txt"
#: IMAGE_ID, QW QX QY QZ, TX TY TZ, CAMERA_ID, NAME.
NUM_FIELDS = 10


def is_image_list(text: str) -> bool:
    """Whether a text is `images.txt`: its first row has nine numbers and a name."""
    first = next((line.split() for line in text[:100_000].splitlines() if line.strip() and line[0] != "#"), [])
    return _is_image(first)


def cameras_file(images: Path) -> Path | None:
    """`cameras.txt` beside an `images.txt`."""
    path = images.with_name(CAMERAS_FILE)
    return path if images.name == "images.txt" and path.is_file() else None


def read_images(text: str, path: Path) -> PosesFile:
    """World-to-camera quaternions and translations, OpenCV axes, in the order of the images' names: ids have none."""
    images = [words for line in text.splitlines() if line[:1] != "#" and _is_image(words := line.split())]
    names = [" ".join(words[NUM_FIELDS - 1 :]) for words in images]
    images = [images[index] for index in order_by_name(names)]
    numbers = np.array([[float(word) for word in words[1 : NUM_FIELDS - 2]] for words in images])
    matrices = np.tile(np.eye(4), (len(images), 1, 1))
    matrices[:, :3, :3] = matrices_from_quaternions(numbers[:, :4])
    matrices[:, :3, 3] = numbers[:, 4:]
    notes: list[str] = []
    cameras = cameras_file(path)
    intrinsics = cameras and _read_cameras(cameras, [words[NUM_FIELDS - 2] for words in images], notes)
    return PosesFile(matrices, "opencv_w2c", None, intrinsics or None, tuple(notes))


def _is_image(words: Sequence[str]) -> bool:
    """Whether a row is an image's. The rows of points between them are numbers only, or empty."""
    numbers = words[: NUM_FIELDS - 1]
    return (
        len(words) >= NUM_FIELDS
        and all(map(is_number, numbers))
        and not all(map(is_number, words[NUM_FIELDS - 1 :]))
        and numbers[0].isdigit()
        and numbers[-1].isdigit()
    )


def _read_cameras(path: Path, camera_ids: Sequence[str], notes: list[str]) -> PixelIntrinsics | None:
    """Intrinsics of every image, by the camera that took it."""
    text = read_text(path, holds="COLMAP's cameras", limit_bytes=MAX_BYTES).content
    cameras = {words[0]: words[1:] for line in text.splitlines() if line[:1] != "#" and (words := line.split())}
    rows: list[list[float]] = []
    sizes: set[tuple[float, float]] = set()
    for camera_id in camera_ids:
        try:
            model, *words = cameras[camera_id]
            width, height, *parameters = map(float, words)
            if model in PINHOLE_PARAMETERS:
                rows.append([parameters[place] for place in PINHOLE_PARAMETERS[model]])
        except (KeyError, ValueError, IndexError) as error:
            raise UsageError(
                f"camera {camera_id} cannot be read: {path}",
                got=f"{type(error).__name__}: {error}",
                expected="CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS",
                next_step="Export the model again: colmap model_converter --output_type TXT.",
            ) from error
        if model not in PINHOLE_PARAMETERS:
            notes.append(f"its intrinsics are of camera model {model}, and not used: the model knows pinholes only")
            return None
        if any(parameters[max(PINHOLE_PARAMETERS[model]) + 1 :]) and not notes:
            notes.append("its lens distortion is left out: the model knows pinhole cameras only")
        sizes.add((width, height))
    if len(sizes) > 1:
        notes.append("its pictures have several sizes, so its intrinsics are not used")
        return None
    return PixelIntrinsics(np.array(rows), sizes.pop())
