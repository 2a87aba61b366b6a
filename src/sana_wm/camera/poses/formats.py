"""The formats that a poses file may have: a table. A file is known by its content, whatever its name ends in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sana_wm.camera.poses.arrays import read_npy, read_npz
from sana_wm.camera.poses.colmap import is_image_list, read_images
from sana_wm.camera.poses.contents import PosesFile
from sana_wm.camera.poses.tables import (
    parse_json,
    read_json_list,
    read_kitti,
    read_matrix_rows,
    read_realestate10k,
    read_tum,
)
from sana_wm.camera.poses.text import MAX_BYTES, table_width
from sana_wm.camera.poses.transforms import read_transforms
from sana_wm.errors import UsageError
from sana_wm.plain_files import SpecialFileError, open_plain
from sana_wm.text.characters import is_blank
from sana_wm.text.reading import NotTextError, decode

NEXT_STEP = "docs/bring-your-own.md lists the formats, and how to convert others."
#: What is a poses file of another kind, by its first bytes or its name, and what to do with it.
OTHERS = (
    (b"\x80", "", "a Python pickle", "Load it where it was made, and save the poses with numpy.save(path, array)."),
    (b"glTF", "", "a glTF scene", "Export the camera from Blender as transforms.json."),
    (b"PXR-USDC", "", "a USD scene", "Export the camera from Blender as transforms.json."),
    (b"Kaydara FBX", "", "an FBX scene", "Export the camera from Blender as transforms.json."),
    (b"", ".bin", "a binary COLMAP model", "Convert it: colmap model_converter --output_type TXT, then images.txt."),
)


@dataclass(frozen=True)
class TextFormat:
    """A format of rows of numbers.

    Attributes:
        name: For people.
        columns: Numbers in a row.
        read: Its reader.
    """

    name: str
    columns: int
    read: Callable[[str, Path], PosesFile]


TEXT_FORMATS = (
    TextFormat("RealEstate10K or CameraCtrl", 19, read_realestate10k),
    TextFormat("TUM", 8, read_tum),
    TextFormat("KITTI", 12, read_kitti),
    TextFormat("4x4 matrices", 16, read_matrix_rows),
)


def read_poses_file(path: Path) -> tuple[str, PosesFile]:
    """Read a poses file of any format.

    Returns:
        The format's name, and what the file says.

    Raises:
        UsageError: Not readable, or of no format that is known.
    """
    try:
        with open_plain(path) as file:
            head = file.read(128)
            if head.startswith(b"\x93NUMPY") or (not head and path.suffix == ".npy"):
                return "npy", read_npy(path)
            if head.startswith(b"PK\x03\x04"):
                return "npz", read_npz(path)
            content = head + file.read(MAX_BYTES + 1 - len(head))
    except SpecialFileError as error:
        raise UsageError(
            f"the poses file is no file: {path}",
            got=error.kind,
            expected="a file of poses",
            next_step="Of COLMAP's folder, name images.txt.",
        ) from error
    except OSError as error:
        raise UsageError(
            f"the poses file cannot be read: {path}",
            got=f"{type(error).__name__}: {error.strerror}",
            expected="a file of poses",
            next_step="Check the path.",
        ) from error
    for start, suffix, what, next_step in OTHERS:
        if content.startswith(start) and (not suffix or path.suffix == suffix):
            raise UsageError(f"the poses file is {what}: {path}", expected="poses", next_step=next_step)
    return _read_text(_decoded(content, path), path)


def _decoded(content: bytes, path: Path) -> str:
    """The text of a file.

    Raises:
        UsageError: It is none, too long a one, or an empty one.
    """
    what = f"the poses file is of no known format: {path}"
    expected = "numpy's .npy or .npz, JSON, or a text of numbers"
    try:
        text = decode(content).content if len(content) <= MAX_BYTES else ""
    except NotTextError as error:
        step = f"{error.kind.next_step} {NEXT_STEP}"
        raise UsageError(what, got=error.kind.name, expected=expected, next_step=step) from error
    if is_blank(text):
        got = repr(content[:16]) if content else "an empty file"
        raise UsageError(what, got=got, expected=expected, next_step=NEXT_STEP)
    return text


def _read_text(text: str, path: Path) -> tuple[str, PosesFile]:
    if text.lstrip()[0] in "{[":
        data = parse_json(text, path)
        if isinstance(data, list):
            return "MotionCtrl or JSON matrices", read_json_list(data, path)
        return "transforms.json", read_transforms(data, path)
    if is_image_list(text):
        return "COLMAP", read_images(text, path)
    columns = table_width(text)
    for known in TEXT_FORMATS:
        if known.columns == columns:
            return known.name, known.read(text, path)
    first_line = text.strip().splitlines()[0]
    raise UsageError(
        f"the poses file is a text of no known format: {path}",
        got=f"{columns} numbers in a row" if columns else f"it begins with {first_line[:40]!r}",
        expected=", ".join(f"{known.columns} ({known.name})" for known in TEXT_FORMATS),
        next_step=NEXT_STEP,
    )
