"""Poses in numpy's files: `.npy` of one array, `.npz` of several by name."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.arrays import load_npy, real_numbers
from sana_wm.camera.intrinsics import intrinsics_rows
from sana_wm.camera.poses.contents import PixelIntrinsics, PosesFile, are_poses, four_by_four
from sana_wm.errors import UsageError
from sana_wm.names import PosesConvention

EXPECTED = "(F, 4, 4) camera-to-world poses"
#: Arrays of an `.npz` that hold poses, by name, small letters: as COLMAP-free reconstruction tools write them.
POSE_NAMES: dict[str, PosesConvention] = {
    **dict.fromkeys(("c2w", "c2ws", "cam_c2w", "cam2world", "camera_to_world"), "opencv_c2w"),
    **dict.fromkeys(("poses", "pose", "camera_poses", "trajectory"), "opencv_c2w"),
    **dict.fromkeys(("w2c", "w2cs", "cam_w2c", "world2cam", "world_to_camera"), "opencv_w2c"),
    **dict.fromkeys(("extrinsics", "extrinsic"), "opencv_w2c"),
}
INTRINSICS_NAMES = ("intrinsics", "intrinsic", "cam_intrinsics", "k", "ks")
#: A path of 8185 poses has 1 MiB; archives may hold depth maps too, which are not read.
MAX_ARRAY_BYTES = 256 * 1024**2


def read_npy(path: Path) -> PosesFile:
    """Poses in a `.npy`; OpenCV axes, camera-to-world unless the manifest says otherwise."""
    return PosesFile(_poses(load_npy(path, holds="poses", expected=EXPECTED), path), "opencv_c2w")


def read_npz(path: Path) -> PosesFile:
    """Poses in an `.npz`: the array with a name of `POSE_NAMES`, else the only one that has the shape of poses."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        with np.load(path, allow_pickle=False) as arrays:
            small = [name for name in arrays.files if sizes.get(name, 0) <= MAX_ARRAY_BYTES]
            named = [name for name in small if name.lower() in POSE_NAMES]
            if not named:
                named = [name for name in small if name.lower() not in INTRINSICS_NAMES and are_poses(arrays[name])]
            if len(named) != 1:
                raise UsageError(
                    f"the poses file has {'several arrays' if named else 'no array'} of poses: {path}",
                    got=", ".join(named or arrays.files) or "no array at all",
                    expected=f"one {EXPECTED}, named {', '.join(POSE_NAMES)}",
                    next_step="Save the one array with numpy.save(path, array).",
                )
            values = arrays[named[0]]
            stated = next((arrays[name] for name in small if name.lower() in INTRINSICS_NAMES), None)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, KeyError, EOFError, NotImplementedError) as error:
        raise UsageError(
            f"the poses file cannot be read: {path}",
            got=f"{type(error).__name__}: {' '.join(str(error).split())}",
            expected=f"a .npz with {EXPECTED}",
            next_step="Write it with numpy.savez(path, c2w=array), numbers only.",
        ) from error
    poses = _poses(real_numbers(values, path, holds="poses", expected=EXPECTED), path)
    convention = POSE_NAMES.get(named[0].lower(), "opencv_c2w")
    return PosesFile(poses, convention, None, None if stated is None else _intrinsics(stated, path))


def _poses(values: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    if not are_poses(values):
        raise UsageError(
            f"the poses file has the wrong shape: {path}",
            got=values.shape,
            expected=f"{EXPECTED}, or (F, 3, 4)",
            next_step="Save one 4x4 or 3x4 camera-to-world matrix a frame.",
        )
    return four_by_four(values)


def _intrinsics(values: NDArray[np.generic], path: Path) -> PixelIntrinsics:
    numbers = real_numbers(values, path, holds="intrinsics", expected="fx, fy, cx, cy")
    return PixelIntrinsics(intrinsics_rows(numbers, f" of the poses file: {path}"))
