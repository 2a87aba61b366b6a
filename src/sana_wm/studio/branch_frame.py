"""A frame of a run's video as the start of another way: its picture and its lens, before anything is decoded."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from PIL import Image

from sana_wm.camera.move_path import MovePath
from sana_wm.drafting.branching import carried_intrinsics
from sana_wm.drafting.camera_view import ActionPath, CameraView, Lens
from sana_wm.durable import durable_file
from sana_wm.errors import UsageError
from sana_wm.studio.desk import Desk
from sana_wm.video.reader import read_frames


def branch_view(desk: Desk, name: str, frame: int, motion: ActionPath | MovePath) -> CameraView:
    """The camera that goes another way from a frame.

    Args:
        desk: The runs folder.
        name: Of a finished run.
        frame: Of its video, counted from 0.
        motion: Where the camera goes from there.

    Raises:
        UsageError: There is no such run or frame.
    """
    run = desk.run(name)
    manifest = run.read_manifest()
    picture = _frame_picture(desk, name, run.video_file, frame)
    decoded = manifest.dropped_frames + frame
    lens = Lens(picture, np.array([carried_intrinsics(manifest, decoded)], dtype=np.float32), "as the run had it")
    moves = motion if isinstance(motion, MovePath) else None
    trajectory = motion.trajectory if isinstance(motion, MovePath) else motion.trajectory()
    return CameraView(trajectory, None, manifest.video, None, lens, origin="a branch", moves=moves)


def _frame_picture(desk: Desk, name: str, video: Path, frame: int) -> Path:
    """A frame of the video as a file; one that was looked at before is there already."""
    stamp = video.stat().st_mtime_ns if video.is_file() else 0
    path = desk.own / "frames" / f"{name.replace('/', '--')}-{stamp}-{frame}.png"
    if path.is_file():
        return path
    frames = read_frames(video)
    try:
        pixels = next(itertools.islice(frames, frame, None), None)
    finally:
        frames.close()
    if pixels is None:
        raise UsageError("the video has no such frame", got=frame, expected="one of its frames")
    path.parent.mkdir(parents=True, exist_ok=True)
    with durable_file(path) as part:
        Image.fromarray(pixels).save(part)
    return path
