"""A drawing of what is kept of a picture: that part bright, the rest dimmed, and its share in percent."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Box = tuple[float, float, float, float]

#: The longer side of one picture alone, and of each where there are several, in pixels.
ALONE_PX, BESIDE_PX = 1024, 448
MARGIN_PX, LABEL_PX, LINE_PX = 12, 22, 4
BACKGROUND, INK, FRAME = (24, 24, 24), (235, 235, 235), (255, 176, 32)
#: How much of its light the part that is cut off keeps.
DIMMED = 0.3


@dataclass(frozen=True)
class KeptPart:
    """A part of a picture.

    Attributes:
        name: What it is called.
        box_px: Its left, top, right and bottom in pixels of the picture.
        share: Of the picture, 0 to 1.
    """

    name: str
    box_px: Box
    share: float


def draw_crops(picture: Image.Image, parts: Sequence[KeptPart]) -> Image.Image:
    """The picture once for each part, beside each other; each says its part's name and share.

    Args:
        picture: RGB.
        parts: One or more.
    """
    scale = (ALONE_PX if len(parts) == 1 else BESIDE_PX) / max(picture.size)
    width, height = (max(1, round(one * scale)) for one in picture.size)
    small = picture.resize((width, height), Image.Resampling.LANCZOS)
    font = ImageFont.load_default(size=LABEL_PX)
    labels = [f"{part.name}  {part.share:.0%}" for part in parts]
    cell = max([width, *(int(font.getlength(label)) + 1 for label in labels)]) + MARGIN_PX
    size = (len(parts) * cell + MARGIN_PX, height + LABEL_PX + 3 * MARGIN_PX)
    drawing = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(drawing)
    for place, (part, label) in enumerate(zip(parts, labels, strict=True)):
        left = MARGIN_PX + place * cell
        drawing.paste(_framed(small, part.box_px, scale), (left, MARGIN_PX))
        draw.text((left, height + 2 * MARGIN_PX), label, INK, font)
    return drawing


def as_png(drawing: Image.Image) -> bytes:
    """A drawing as a PNG file's content."""
    file = io.BytesIO()
    drawing.save(file, "PNG")
    return file.getvalue()


def _framed(picture: Image.Image, box_px: Box, scale: float) -> Image.Image:
    left, top, right, bottom = (round(edge * scale) for edge in box_px)
    framed = Image.blend(Image.new("RGB", picture.size, BACKGROUND), picture, DIMMED)
    framed.paste(picture.crop((left, top, right, bottom)), (left, top))
    inside = (left, top, max(right, left + 1) - 1, max(bottom, top + 1) - 1)
    ImageDraw.Draw(framed).rectangle(inside, outline=FRAME, width=min(LINE_PX, *(one // 8 + 1 for one in picture.size)))
    return framed
