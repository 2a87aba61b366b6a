"""Frames straight into ffmpeg, with backpressure; the video appears under its name only once ffmpeg has ended well."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Generator, Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from sana_wm.durable import discard, make_part, publish
from sana_wm.errors import StageFailedError, UsageError

QUEUE_LENGTH = 2
"""Pieces of frames that wait for ffmpeg: enough to encode beside the decode, and all the memory that this costs."""

SOFTWARE_CODECS = ("libx264", "libx265")
"""Codecs with a constant rate factor and a preset."""

HARDWARE_CODECS = ("h264_videotoolbox", "hevc_videotoolbox")
"""Apple's encoders: a quality from 1 to 100 instead."""


class VideoEncoder:
    """A context manager that takes frames and leaves a video file.

    Colours are converted to BT.709 and tagged so: untagged, players take a 1280-wide video for BT.709 whatever it is.
    When the block ends by an exception ffmpeg is killed and nothing is left.

    Args:
        path: The video file, `.mp4`.
        width: Pixels per row.
        height: Rows.
        fps: Frames per second.
        codec: One of `SOFTWARE_CODECS` or `HARDWARE_CODECS`.
        crf: Constant rate factor of the software codecs.
        preset: Speed preset of the software codecs.
        quality: Quality of the hardware codecs, 1 to 100.
        pixel_format: Pixel format of the file.
        metadata: What to keep in the file's comment, as JSON.

    Raises:
        UsageError: An unknown codec, or one that this ffmpeg does not have.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        fps: int,
        codec: str = "libx264",
        crf: int = 18,
        preset: str = "medium",
        quality: int = 65,
        pixel_format: str = "yuv420p",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        check_codec(codec)
        self.path = path
        self.frame_shape = (height, width, 3)
        self.num_frames = 0
        filters = (
            f"scale=out_color_matrix=bt709:out_range=tv,format={pixel_format},"
            "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"
        )
        rate = ["-q:v", str(quality)] if codec in HARDWARE_CODECS else ["-crf", str(crf), "-preset", preset]
        tag = ["-tag:v", "hvc1"] if codec in ("libx265", "hevc_videotoolbox") else []  # QuickTime plays no other HEVC
        self._command = [
            *(*ffmpeg_command(), "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"),
            *("-r", str(fps), "-i", "pipe:0"),
        ]
        self._output = [
            *("-an", "-vf", filters, "-c:v", codec, *rate, *tag, "-movflags", "+faststart"),
        ]
        self._metadata = dict(metadata or {})

    def __enter__(self) -> Self:
        self.part = make_part(self.path)
        self._messages = tempfile.TemporaryFile()
        # Its own process group: an interrupt reaches us alone, and we decide. No preexec_fn: it would run Python in a
        # fork of a process with Metal threads.
        try:
            with comment(self._metadata) as (options, files):
                self._process = subprocess.Popen(
                    [*self._command, *options, *self._output, str(self.part)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=self._messages,
                    bufsize=0,
                    process_group=0,
                    pass_fds=files,
                )
        except BaseException:
            discard(self.part)
            raise
        self._queue: queue.Queue[NDArray[np.uint8] | None] = queue.Queue(QUEUE_LENGTH)
        self._write_error: OSError | None = None
        self._writer = threading.Thread(target=self._write, name="ffmpeg-writer", daemon=True)
        self._writer.start()
        return self

    def put(self, frames: NDArray[np.uint8]) -> None:
        """Queue frames; waits while ffmpeg is behind. The array must not be changed afterwards.

        Args:
            frames: uint8 (n, H, W, 3).

        Raises:
            StageFailedError: ffmpeg has ended, with its words; or the frames are not of the video's size.
        """
        if frames.dtype != np.uint8 or frames.shape[1:] != self.frame_shape:
            raise StageFailedError(
                "frames do not fit the video",
                got=f"{frames.dtype} {frames.shape}",
                expected=f"uint8 (n, {', '.join(map(str, self.frame_shape))})",
            )
        if self._write_error:
            self._fail()
        self.num_frames += len(frames)
        self._queue.put(np.ascontiguousarray(frames))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._kill()  # first: it frees a writer that is stuck in write()
        self._queue.put(None)
        self._writer.join()
        assert self._process.stdin is not None
        self._process.stdin.close()
        exit_code = self._process.wait()
        try:
            if kind is None:
                if exit_code or self._write_error or not self.num_frames:
                    self._fail()
                publish(self.part, self.path)
        finally:
            self._messages.close()
            discard(self.part)

    def _write(self) -> None:
        assert self._process.stdin is not None
        descriptor = self._process.stdin.fileno()
        while (frames := self._queue.get()) is not None:
            view = frames.data.cast("B")
            try:
                while view and not self._write_error:  # after an error only drain, so that `put` never waits for ever
                    view = view[os.write(descriptor, view) :]
            except OSError as error:
                self._write_error = error

    def _kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def _fail(self) -> NoReturn:
        self._kill()
        exit_code = self._process.wait()
        self._messages.seek(0)
        words = quote(self._messages.read())
        if not self.num_frames and not words:
            raise StageFailedError("no frames came to be encoded", got="0 frames", expected=f"frames of {self.path}")
        raise StageFailedError(
            f"ffmpeg did not finish {self.path.name}",
            got=f"{describe_exit(exit_code)} after {self.num_frames} frames: {words or 'no message'}",
            next_step="Check the free disk space and video.codec, then resume the run.",
        )


def check_codec(codec: str) -> None:
    """Refuse a codec that we do not know how to ask for quality, or that this ffmpeg cannot encode.

    Raises:
        UsageError: With the codecs that would do.
    """
    usable = usable_codecs()
    if codec not in usable:
        raise UsageError(
            "this ffmpeg cannot encode with that codec",
            got=codec,
            expected=" or ".join(usable),
            next_step="VideoToolbox codecs exist on macOS only.",
        )


@cache
def usable_codecs() -> tuple[str, ...]:
    """The codecs that we know how to ask for quality and that this ffmpeg can encode."""
    asked = subprocess.run([*ffmpeg_command(), "-encoders"], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise StageFailedError("ffmpeg does not say what it can encode", got=describe_exit(asked.returncode))
    present = {line.split()[1] for line in asked.stdout.splitlines() if len(line.split()) > 1}
    return tuple(name for name in (*SOFTWARE_CODECS, *HARDWARE_CODECS) if name in present)


def ffmpeg_command() -> list[str]:
    """The start of every ffmpeg command: quiet, not reading the terminal."""
    return [ffmpeg_binary(), "-hide_banner", "-loglevel", "error", "-nostdin"]


def ffmpeg_binary() -> str:
    """imageio-ffmpeg's binary, or the one that the user set; it is started once to see that it can be.

    Raises:
        StageFailedError: It cannot.
    """
    try:
        binary = imageio_ffmpeg.get_ffmpeg_exe()
        why = f"no program {binary}"
    except RuntimeError as error:
        binary, why = "", str(error)
    found = shutil.which(binary)
    if found is None:
        raise StageFailedError(
            "no ffmpeg can be started",
            got=why,
            expected="the one of the package imageio-ffmpeg",
            next_step="Run the command again; if it stays so, install imageio-ffmpeg again, or set IMAGEIO_FFMPEG_EXE.",
        )
    return str(Path(found).absolute())  # it may be started in another folder


@contextlib.contextmanager
def comment(metadata: Mapping[str, str]) -> Generator[tuple[list[str], tuple[int, ...]]]:
    """Options, behind the first input, that keep `metadata` in a video, and the open files that ffmpeg must inherit.

    One JSON comment, the only free field that all players show. It is read from a file: a system limits how long an
    argument may be, and a prompt may be longer. The file has no name, so that nothing is left of it whoever dies.
    """
    if not metadata:
        yield [], ()
        return
    text = re.sub(r"([=;#\\\n])", r"\\\1", json.dumps(dict(metadata), sort_keys=True).replace("\x7f", "\\u007f"))
    with tempfile.TemporaryFile() as file:
        file.write(f";FFMETADATA1\ncomment={text}\n".encode())
        file.seek(0)
        options = ["-f", "ffmetadata", "-i", f"/dev/fd/{file.fileno()}", "-map", "0:v", "-map_metadata", "1"]
        yield options, (file.fileno(),)


def quote(messages: bytes) -> str:
    """The end of ffmpeg's messages on one line."""
    return " | ".join(messages[-2000:].decode(errors="replace").split("\n")).strip(" |")


def describe_exit(code: int) -> str:
    """`exit 1` or `killed by SIGKILL`."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
