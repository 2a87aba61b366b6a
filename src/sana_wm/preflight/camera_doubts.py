"""What deserves a word about a manifest's camera: its data, put before the rules of `camera.plausibility`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sana_wm.camera.actions import parse_action
from sana_wm.camera.crop import CENTRE
from sana_wm.camera.crop_words import doubts_about_axis
from sana_wm.camera.dialects import DIALECTS
from sana_wm.camera.intrinsics import crop_intrinsics
from sana_wm.camera.of_manifest import load_camera_path, load_intrinsics, picture_geometry
from sana_wm.camera.plausibility import (
    doubts_about_action,
    doubts_about_fps,
    doubts_about_length,
    doubts_about_lens,
    doubts_about_path,
    doubts_about_view,
)
from sana_wm.manifest.model import Manifest

#: A manifest field, and what is to be said of it.
Doubt = tuple[str, str]


def doubts_about_camera(manifest: Manifest, picture_size: tuple[int, int]) -> list[Doubt]:
    """About the path, its frame rate and the intrinsics, of the frames that the path gives.

    Args:
        manifest: With intrinsics that are settled, not to be estimated.
        picture_size: Width, height of the input image, in pixels.

    Raises:
        UsageError: The path or the intrinsics cannot be read.
    """
    camera, video = manifest.camera, manifest.video
    path = load_camera_path(manifest)
    of_path = [
        *path.notes,
        *doubts_about_path(path.trajectory.c2w[: video.num_frames]),
        *doubts_about_length(len(path.trajectory), video.num_frames),
    ]
    if camera.action is not None:
        of_path += doubts_about_action(parse_action(camera.action), DIALECTS[camera.dialect])
    rows = load_intrinsics(manifest, path, min(video.num_frames, len(path.trajectory)), picture_size)
    cropped = crop_intrinsics(rows, picture_geometry(manifest, picture_size))
    of_intrinsics = [
        *_source_words(manifest, rows),
        *doubts_about_view(cropped, height=video.height, width=video.width),
        *doubts_about_lens(rows, picture_size),
    ]
    of_crop = (
        doubts_about_axis(cropped, height=video.height, width=video.width) if manifest.input.crop != CENTRE else []
    )
    return [
        *((path.field, words) for words in of_path),
        *(("video.fps", words) for words in doubts_about_fps(video.fps)),
        *(("camera.intrinsics", words) for words in of_intrinsics),
        *(("input.crop", words) for words in of_crop),
    ]


def _source_words(manifest: Manifest, rows: NDArray[np.float32]) -> list[str]:
    if manifest.camera.intrinsics is not None:
        return []
    fx, fy, cx, cy = rows[0].tolist()
    return [
        f"taken from the poses file: fx {fx:.6g}, fy {fy:.6g}, cx {cx:.6g}, cy {cy:.6g} in pixels of the input image"
    ]
