"""Frames as numbered PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sana_wm.durable import durable_file


class FrameFolder:
    """Writes `NNNNN.png`, one for each frame, each whole or absent.

    Args:
        folder: Where they go; made if absent.
        first_frame: Number of the first frame that will come.
    """

    def __init__(self, folder: Path, *, first_frame: int = 0) -> None:
        self.folder = folder
        self.next_frame = first_frame
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, frames: NDArray[np.uint8]) -> None:
        """Write frames, uint8 (n, H, W, 3)."""
        for frame in frames:
            path = self.folder / f"{self.next_frame:05d}.png"
            with durable_file(path) as part:
                Image.fromarray(frame).save(part, compress_level=1)
            self.next_frame += 1
