"""One picture of the whole video: a grid of frames with their times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sana_wm.durable import durable_file

MARGIN_PX = 6
#: A telephone shows a sheet a third as wide as it is: the times must be read there, so they are this part of a picture.
LABEL_SHARE = 1 / 8
BACKGROUND, INK = (24, 24, 24), (220, 220, 220)


class ContactSheet:
    """Takes every frame while decoding and keeps thumbnails of a few, evenly spaced, the first and the last included.

    Args:
        num_frames: Frames that will come.
        fps: Frames per second, for the times.
        columns: Columns of the grid; three are as many as a telephone shows with something to see in each.
        rows: Most rows of the grid.
        thumbnail_width: Pixels.
    """

    def __init__(
        self, *, num_frames: int, fps: float, columns: int = 3, rows: int = 4, thumbnail_width: int = 400
    ) -> None:
        count = min(num_frames, columns * rows)
        self.chosen = {round(index) for index in np.linspace(0, num_frames - 1, count).tolist()}
        self.fps = fps
        self.columns = min(columns, count)
        self.thumbnail_width = thumbnail_width
        self.thumbnails: dict[int, Image.Image] = {}
        self.next_frame = 0

    def put(self, frames: NDArray[np.uint8]) -> None:
        """Take the next frames, uint8 (n, H, W, 3)."""
        for frame in frames:
            if self.next_frame in self.chosen:
                height = round(frame.shape[0] * self.thumbnail_width / frame.shape[1])
                picture = Image.fromarray(frame)
                self.thumbnails[self.next_frame] = picture.resize((self.thumbnail_width, height), Image.Resampling.BOX)
            self.next_frame += 1

    def write(self, path: Path) -> None:
        """Write the grid as PNG, whole or not at all."""
        thumbnails = sorted(self.thumbnails.items())
        cell_width = self.thumbnail_width + MARGIN_PX
        label_height = round(self.thumbnail_width * LABEL_SHARE)
        cell_height = thumbnails[0][1].height + label_height + MARGIN_PX
        rows = -(-len(thumbnails) // self.columns)
        sheet = Image.new("RGB", (self.columns * cell_width + MARGIN_PX, rows * cell_height + MARGIN_PX), BACKGROUND)
        draw = ImageDraw.Draw(sheet)
        font = ImageFont.load_default(size=label_height * 0.8)
        for cell, (frame, thumbnail) in enumerate(thumbnails):
            left = MARGIN_PX + cell % self.columns * cell_width
            top = MARGIN_PX + cell // self.columns * cell_height
            sheet.paste(thumbnail, (left, top))
            middle = (left + self.thumbnail_width / 2, top + thumbnail.height + label_height / 2)
            draw.text(middle, f"{frame / self.fps:.2f} s", INK, font, anchor="mm")
        with durable_file(path) as part:
            sheet.save(part)
