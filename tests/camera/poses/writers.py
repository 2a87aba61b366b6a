"""Camera paths written as other tools write them: their own arithmetic, nothing of the package's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

#: fx, fy, cx, cy and the picture that they are of, as the formats that hold intrinsics state them.
INTRINSICS, SIZE = (900.0, 905.0, 648.0, 356.0), (1280, 720)
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def quaternion(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """w, x, y, z by the largest component (Shepperd)."""
    (a, b, c), (d, e, f), (g, h, i) = rotation.tolist()
    squares = [1 + a + e + i, 1 + a - e - i, 1 - a + e - i, 1 - a - e + i]
    largest = int(np.argmax(squares))
    root = math.sqrt(squares[largest])
    w, x, y, z = (
        (root * root, h - f, c - g, d - b),
        (h - f, root * root, b + d, c + g),
        (c - g, b + d, root * root, f + h),
        (d - b, c + g, f + h, root * root),
    )[largest]
    return w / 2 / root, x / 2 / root, y / 2 / root, z / 2 / root


def row(numbers: np.ndarray | list[float] | tuple[float, ...]) -> str:
    return " ".join(f"{number:.9f}" for number in np.ravel(numbers))


def write_realestate10k(c2w: np.ndarray, path: Path) -> None:
    (fx, fy, cx, cy), (width, height) = INTRINSICS, SIZE
    shares = row((fx / width, fy / height, cx / width, cy / height, 0, 0))
    lines = [f"{index * 62500} {shares} {row(np.linalg.inv(pose)[:3])}" for index, pose in enumerate(c2w)]
    path.write_text("\n".join(["https://example.org/video", *lines]))


def write_tum(c2w: np.ndarray, path: Path) -> None:
    lines = ["# timestamp tx ty tz qx qy qz qw"]
    for index, pose in enumerate(c2w):
        w, x, y, z = quaternion(pose[:3, :3])
        lines.append(f"{1305031102.175 + index / 16:.6f} {row(pose[:3, 3])} {row((x, y, z, w))}")
    path.write_text("\n".join(lines))


def write_kitti(c2w: np.ndarray, path: Path) -> None:
    path.write_text("\n".join(row(pose[:3]) for pose in c2w))


def write_matrix_rows(c2w: np.ndarray, path: Path) -> None:
    path.write_text("\r\n".join(", ".join(f"{number:.9e}" for number in pose.ravel()) for pose in c2w), "utf-16")


def write_motionctrl(c2w: np.ndarray, path: Path) -> None:
    path.write_text(json.dumps([np.linalg.inv(pose)[:3].ravel().tolist() for pose in c2w]))


def write_nested_json(c2w: np.ndarray, path: Path) -> None:
    path.write_text(json.dumps(c2w.tolist()))


def write_transforms(c2w: np.ndarray, path: Path) -> None:
    """Frames in the order of a reconstruction, not of the walk."""
    frames = [
        {"file_path": f"images/frame_{index}.png", "transform_matrix": (pose @ OPENGL).tolist()}
        for index, pose in enumerate(c2w)
    ]
    order = np.random.default_rng(3).permutation(len(frames))
    names = dict(zip(("fl_x", "fl_y", "cx", "cy", "w", "h"), (*INTRINSICS, *SIZE), strict=True))
    path.write_text(json.dumps({**names, "camera_model": "OPENCV", "frames": [frames[index] for index in order]}))


def write_colmap(c2w: np.ndarray, path: Path) -> None:
    """Images in the order of their registration, with points for some of them."""
    lines = ["# Image list with two lines of data per image:"]
    for image_id, index in enumerate(np.random.default_rng(4).permutation(len(c2w)), start=1):
        w2c = np.linalg.inv(c2w[index])
        numbers = f"{row(quaternion(w2c[:3, :3]))} {row(w2c[:3, 3])}"
        lines += [f"{image_id} {numbers} 7 walk {index}.jpg", "12.5 33.0 -1 44.1 7.25 16" if index % 2 else ""]
    path.write_text("\n".join(lines) + "\n")
    parameters = " ".join(map(str, (*SIZE, *INTRINSICS)))
    path.with_name("cameras.txt").write_text(f"# Camera list\n7 PINHOLE {parameters}\n")


def write_npz(c2w: np.ndarray, path: Path) -> None:
    K = np.array([[INTRINSICS[0], 0, INTRINSICS[2]], [0, INTRINSICS[1], INTRINSICS[3]], [0, 0, 1]])
    np.savez(path, cam_c2w=c2w, intrinsic=K, depths=np.zeros((len(c2w), 3, 4)))


def write_extrinsics_npz(c2w: np.ndarray, path: Path) -> None:
    np.savez(path, extrinsic=np.linalg.inv(c2w)[:, :3])


#: File name, writer.
WRITERS: list[tuple[str, Callable[[np.ndarray, Path], None]]] = [
    ("walk.txt", write_realestate10k),
    ("walk.tum", write_tum),
    ("00.txt", write_kitti),
    ("rows.csv", write_matrix_rows),
    ("camera.json", write_motionctrl),
    ("matrices.json", write_nested_json),
    ("transforms.json", write_transforms),
    ("images.txt", write_colmap),
    ("walk.npz", write_npz),
    ("extrinsics.npz", write_extrinsics_npz),
    ("walk.npy", lambda c2w, path: np.save(path, c2w)),
    ("walk3.npy", lambda c2w, path: np.save(path, c2w[:, :3])),
]
#: Those that state intrinsics.
WITH_INTRINSICS = [WRITERS[index] for index in (0, 6, 7, 8)]
