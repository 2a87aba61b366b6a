"""Frames as numbered PNG files."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sana_wm.durable import durable_file, make_folder, remove_parts_in
from sana_wm.held import holding


class FrameFolder:
    """A context manager that writes `NNNNN.png`, one for each frame, each whole or absent.

    Args:
        folder: Where they go; made if absent, and held: it may be on a volume of its own, which may go away.
        first_frame: Number of the first frame that will come.
    """

    def __init__(self, folder: Path, *, first_frame: int = 0) -> None:
        self.folder = folder
        self.next_frame = first_frame
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        make_folder(self.folder)
        self._held.enter_context(holding(self.folder))
        remove_parts_in(self.folder)  # it is one run's alone: a kill left them
        return self

    def put(self, frames: NDArray[np.uint8]) -> None:
        """Write frames, uint8 (n, H, W, 3)."""
        for frame in frames:
            path = self.folder / f"{self.next_frame:05d}.png"
            with durable_file(path) as part:
                Image.fromarray(frame).save(part, compress_level=1)
            self.next_frame += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.close()
