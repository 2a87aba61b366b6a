"""Reading a video back: its facts and its frames."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sana_wm.errors import HandoffError
from sana_wm.figures import format_bytes
from sana_wm.plain_files import require_plain
from sana_wm.video.encoder import describe_exit, ffmpeg_binary, ffmpeg_command, quote

STREAM = re.compile(r"Video: (?P<codec>\w+).*?, (?P<format>\w+(?:\([^)]*\))?), (?P<width>\d+)x(?P<height>\d+)")
FPS = re.compile(r"(?P<fps>[\d.]+) fps")


@dataclass(frozen=True)
class VideoInfo:
    """Facts of a video file.

    Attributes:
        width: Pixels per row.
        height: Rows.
        fps: Frames per second.
        num_frames: Frames in the file, counted.
        codec: As ffmpeg names it.
        pixel_format: With the colour tags, as `yuv420p(tv, bt709, progressive)`.
        metadata: What `VideoEncoder` was given; a comment of another origin stands under `comment`.
    """

    width: int
    height: int
    fps: float
    num_frames: int
    codec: str
    pixel_format: str
    metadata: dict[str, str]


def probe(path: Path) -> VideoInfo:
    """Read a video's facts; counts its frames without decoding them.

    Raises:
        HandoffError: Not a whole video file.
    """
    try:
        require_plain(path)  # ffmpeg would wait for a pipe
    except OSError as error:
        raise _not_whole(path, error.strerror or str(error)) from error
    # One line per packet: the counters that ffmpeg prints while it works differ between its versions.
    listing = ["-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"]
    result = subprocess.run(
        [ffmpeg_binary(), "-hide_banner", "-nostdin", "-i", str(path), *listing],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    stream, fps = STREAM.search(result.stderr), FPS.search(result.stderr)
    num_frames = sum(not line.startswith("#") for line in result.stdout.splitlines())
    if result.returncode or not stream or not fps or not num_frames:
        raise _not_whole(path, quote(result.stderr.encode()))
    return VideoInfo(
        width=int(stream["width"]),
        height=int(stream["height"]),
        fps=float(fps["fps"]),
        num_frames=num_frames,
        codec=stream["codec"],
        pixel_format=stream["format"],
        metadata=_read_metadata(path),
    )


def describe_video(path: Path) -> str:
    """Length and size of a video: `56 frames, 3.5 s at 16 fps, 1280x704, 2.1 MB`.

    Raises:
        HandoffError: Not a whole video file.
    """
    facts = probe(path)
    length = f"{facts.num_frames} frames, {facts.num_frames / facts.fps:.1f} s at {facts.fps:g} fps"
    return f"{length}, {facts.width}x{facts.height}, {format_bytes(path.stat().st_size)}"


def _not_whole(path: Path, got: str) -> HandoffError:
    return HandoffError(
        f"{path} is not a whole video",
        got=got,
        expected="a file that ffmpeg reads",
        next_step="Decode it again: sana-wm resume RUN_DIR --from vae_decode, or --from preview if it is that.",
    )


def read_frames(path: Path) -> Generator[NDArray[np.uint8]]:
    """The frames of a video one by one, uint8 (H, W, 3).

    Raises:
        HandoffError: The file cannot be decoded to its end.
    """
    info = probe(path)
    shape = (info.height, info.width, 3)
    command = [*ffmpeg_command(), "-xerror", "-i", str(path), "-fps_mode", "passthrough"]
    with subprocess.Popen(
        [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            while len(data := process.stdout.read(info.width * info.height * 3)) == info.width * info.height * 3:
                yield np.frombuffer(data, np.uint8).reshape(shape)
            words = quote(process.stderr.read())
            if process.wait() or data:
                raise HandoffError(f"{path} cannot be decoded to its end", got=words, expected="a whole video")
        finally:
            if process.poll() is None:  # the reader stopped early
                process.kill()


def _read_metadata(path: Path) -> dict[str, str]:
    """The file's comment, which `VideoEncoder` writes as JSON."""
    asked = subprocess.run(
        [*ffmpeg_command(), "-i", str(path), "-f", "ffmetadata", "-"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise HandoffError(f"the comment of {path} cannot be read", got=describe_exit(asked.returncode))
    found = re.search(r"^comment=((?:\\.|[^\\\n])*)", asked.stdout, flags=re.MULTILINE | re.DOTALL)
    if not found:
        return {}
    comment = re.sub(r"\\(.)", r"\1", found[1], flags=re.DOTALL)
    try:
        values = json.loads(comment)
    except json.JSONDecodeError:
        return {"comment": comment}
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {"comment": comment}
