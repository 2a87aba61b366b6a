"""Pictures that were dropped on the page: kept by their content, known by a name that leads nowhere else."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sana_wm.camera.crop import Crop
from sana_wm.camera.exif import read_focal_length
from sana_wm.camera.field_of_view import field_of_view_deg
from sana_wm.camera.intrinsics import CropGeometry, crop_geometry
from sana_wm.durable import make_folder, remove_file
from sana_wm.errors import PictureError, UsageError
from sana_wm.studio.desk import Desk
from sana_wm.video.picture import inspect_picture, open_picture, opened

#: Of the picture on the page, in pixels on its longer side.
SHOWN_PX = 960
MOST_NAME_CHARACTERS = 60


@dataclass(frozen=True)
class Dropped:
    """A picture that passed the gate.

    Attributes:
        key: Names it in addresses.
        path: Its file.
        size: Width, height, upright, in pixels.
        notes: What is done to it on its way, in words.
        fov_deg: What it shows from left to right, where its EXIF data say so.
        lens: Where that comes from, or why it is not known, in words.
    """

    key: str
    path: Path
    size: tuple[int, int]
    notes: tuple[str, ...]
    fov_deg: float | None
    lens: str

    def geometry(self, size: tuple[int, int], crop: Crop) -> CropGeometry:
        """How it becomes the first frame of a video of a width and height."""
        return crop_geometry(self.size, width=size[0], height=size[1], crop=crop)


def keep_picture(desk: Desk, part: Path, name: str) -> Dropped:
    """Put an uploaded file through the gate and give it its place.

    Args:
        desk: The runs folder.
        part: The file as it came.
        name: What the user calls it.

    Raises:
        PictureError: It is no picture that can be used; it is gone then.
    """
    content = hashlib.sha256(part.read_bytes()).hexdigest()[:16]
    path = desk.own / "pictures" / content / clean_name(name)
    make_folder(path.parent)
    part.replace(path)
    try:
        return look_at_picture(path)
    except PictureError:
        remove_file(path)
        raise


def clean_name(name: str) -> str:
    """A file name of letters, digits, `-` and `_` with one suffix: runs are named after it."""
    given = Path(name.replace("\\", "/")).name
    stem, _, suffix = given.rpartition(".") if "." in given.strip(".") else (given, "", "")
    kept = re.sub(r"[^\w-]+", "_", stem).strip("_")[:MOST_NAME_CHARACTERS] or "picture"
    ending = re.sub(r"[^A-Za-z0-9]", "", suffix)[:8].lower()
    return f"{kept}.{ending}" if ending else kept


def find_picture(desk: Desk, key: str) -> Dropped:
    """A picture by its key.

    Raises:
        UsageError: There is none.
    """
    content, _, name = key.partition("/")
    folder = desk.own / "pictures" / content
    if re.fullmatch("[0-9a-f]{16}", content) and folder.is_dir() and not folder.is_symlink():
        for path in folder.iterdir():
            if path.name == name and path.is_file() and not path.is_symlink():
                return look_at_picture(path)
    raise UsageError("there is no such picture", got=repr(key), expected="one that was dropped here")


def look_at_picture(path: Path) -> Dropped:
    """Facts of a picture file.

    Raises:
        PictureError: It cannot be used.
    """
    facts = inspect_picture(path)
    with opened(path) as image:
        focal = read_focal_length(image)
    width, height = facts.size
    fov, lens = None, focal if isinstance(focal, str) else focal.source
    if not isinstance(focal, str):
        fov = field_of_view_deg([focal.fx, focal.fy, width / 2, height / 2], width=width, height=height)[0]
    return Dropped(f"{path.parent.name}/{path.name}", path, facts.size, facts.notes, fov, lens)


def as_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """An image for the page, uint8 (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def shown_picture(dropped: Dropped) -> bytes:
    """The whole picture, small, as a JPEG."""
    image = open_picture(dropped.path).image
    image.thumbnail((SHOWN_PX, SHOWN_PX))
    return as_jpeg(np.asarray(image))
