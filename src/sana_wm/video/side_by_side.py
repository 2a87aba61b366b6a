"""Two videos in one picture, beside each other, each beneath its name."""

from __future__ import annotations

import contextlib
import io
import itertools
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sana_wm.durable import durable_file
from sana_wm.errors import StageFailedError
from sana_wm.video.contact_sheet import BACKGROUND, INK
from sana_wm.video.encoder import describe_exit, ffmpeg_command, quote
from sana_wm.video.pair import Pair
from sana_wm.video.reader import read_frames

LABEL_PX, FONT_PX, GAP_PX = 32, 18, 4
_TAGS = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"


def write_side_by_side(pair: Pair, labels: tuple[str, str], path: Path) -> None:
    """Write the common frames of two videos beside each other, whole or not at all; no frame is scaled.

    Args:
        pair: The videos.
        labels: What stands above each. Drawn by Pillow: an ffmpeg may lack the filter for text.
        path: The video file, `.mp4`.

    Raises:
        HandoffError: The file cannot be written.
        StageFailedError: ffmpeg failed, with its words.
    """
    widths = [_even(pair.a.info.width) + GAP_PX, _even(pair.b.info.width)]
    height = _even(max(clip.info.height for clip in (pair.a, pair.b)))
    halves = [
        f"[{index}:v]{pair.selection(clip)},format=yuv420p,pad={width}:{height + LABEL_PX}:0:{LABEL_PX}[{name}]"
        for index, (clip, width, name) in enumerate(zip((pair.a, pair.b), widths, "ab", strict=True))
    ]
    graph = ";".join([*halves, "[a][b]hstack[both]", f"[both][2:v]overlay=0:0,format=yuv420p,{_TAGS}"])
    with tempfile.TemporaryDirectory() as folder, durable_file(path) as part:
        strip = Path(folder) / "labels.png"
        draw_labels(labels, widths[0], widths[1]).save(strip)
        inputs = [word for source in (pair.a.path, pair.b.path, strip) for word in ("-i", str(source))]
        encoding = [
            "-an",
            "-r",
            f"{pair.a.info.fps:g}",
            "-c:v",
            "libx264",
            "-crf",
            "18",
            "-preset",
            "medium",
            "-movflags",
            "+faststart",
        ]
        done = subprocess.run(
            [*ffmpeg_command(), "-y", "-xerror", *inputs, "-filter_complex", graph, *encoding, str(part)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            process_group=0,
        )
        if done.returncode:
            raise StageFailedError(
                f"ffmpeg did not finish {path.name}",
                got=f"{describe_exit(done.returncode)}: {quote(done.stderr) or 'no message'}",
                next_step="Check the free disk space; then compare again.",
            )


def draw_labels(labels: tuple[str, str], left_px: int, right_px: int) -> Image.Image:
    """A strip with a label above each half; one that is too long ends in dots."""
    strip = Image.new("RGB", (left_px + right_px, LABEL_PX), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=FONT_PX)
    for text, left, width in ((labels[0], 0, left_px), (labels[1], left_px, right_px)):
        fitting, room = text, width - 16
        while fitting and draw.textlength(fitting, font) > room:
            fitting = f"{fitting.removesuffix('…')[:-1]}…" if len(fitting) > 1 else ""
        draw.text((left + 8, (LABEL_PX - FONT_PX) // 2 - 2), fitting, INK, font)
    return strip


def _even(pixels: int) -> int:
    """4:2:0 keeps a colour for two by two pixels."""
    return pixels + pixels % 2


def draw_frames(pair: Pair, index: int) -> bytes:
    """The `index`th common frame of two videos beside each other, as a PNG file's content.

    Raises:
        HandoffError: A video cannot be decoded so far.
    """
    frames = [_frame(clip.path, pair.common_of(clip)[0] + index) for clip in (pair.a, pair.b)]
    content = io.BytesIO()
    Image.fromarray(np.concatenate(frames, axis=1)).save(content, format="PNG")
    return content.getvalue()


def _frame(path: Path, number: int) -> NDArray[np.uint8]:
    with contextlib.closing(read_frames(path)) as frames:
        return next(itertools.islice(frames, number, None))
