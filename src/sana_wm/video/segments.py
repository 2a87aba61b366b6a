"""A long video as finished pieces, so that a crash costs one piece and not the run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sana_wm.durable import discard, make_folder, make_part, publish, sha256_of, write_durably
from sana_wm.errors import HandoffError, StageFailedError
from sana_wm.video.encoder import VideoEncoder, comment, describe_exit, ffmpeg_command, quote
from sana_wm.video.reader import probe

JOIN = ("-c", "copy", "-movflags", "+faststart")


class SegmentedEncoder:
    """Takes frames as `VideoEncoder` does and leaves `NNNNN.mp4` files of a fixed number of frames, each whole.

    Args:
        folder: Where the segments go; made if absent.
        frames_per_segment: Frames in each but the last.
        first_segment: Number of the first segment to write: how many are finished already.
        describe: Given a segment's number, once all its frames were put, what to keep beside it (`companion_path`).
        **options: Of `VideoEncoder`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        frames_per_segment: int,
        first_segment: int = 0,
        describe: Callable[[int], bytes] | None = None,
        **options: Any,
    ) -> None:
        self.folder = folder
        self.frames_per_segment = frames_per_segment
        self.next_segment = first_segment
        self.describe = describe
        self.options = options
        self._encoder: VideoEncoder | None = None

    def __enter__(self) -> Self:
        make_folder(self.folder)
        return self

    def put(self, frames: NDArray[np.uint8]) -> None:
        """As `VideoEncoder.put`, across as many segments as the frames fill."""
        while len(frames):
            if self._encoder is None:
                path = segment_path(self.folder, self.next_segment)
                self._encoder = VideoEncoder(path, **self.options).__enter__()
            room = self.frames_per_segment - self._encoder.num_frames
            self._encoder.put(frames[:room])
            frames = frames[room:]
            if self._encoder.num_frames == self.frames_per_segment:
                self._close(None, None, None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close(kind, error, traceback)

    def _close(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.__exit__(kind, error, traceback)
            if kind is None:
                if self.describe is not None:
                    write_durably(companion_path(encoder.path), self.describe(self.next_segment))
                write_durably(_digest_path(encoder.path), _digest_of(encoder.path))
            self.next_segment += 1


def segment_path(folder: Path, number: int) -> Path:
    """The file of one segment."""
    return folder / f"{number:05d}.mp4"


def companion_path(segment: Path) -> Path:
    """The file that describes a segment's frames."""
    return segment.with_suffix(".npz")


def _digest_path(segment: Path) -> Path:
    """The file that vouches for a segment, written after it: ffmpeg plays over a flipped bit without a word."""
    return segment.with_suffix(".sha256")


def _digest_of(segment: Path) -> str:
    """SHA-256 of a segment and, where there is one, of its companion."""
    return "\n".join(sha256_of(path) for path in (segment, companion_path(segment)) if path.exists())


def finished_segments(
    folder: Path, frames_per_segment: int, metadata: Mapping[str, str], *, described: bool = False
) -> list[Path]:
    """The full segments that an earlier try of the same run left, from the first one on without a gap.

    A damaged segment, or one of other metadata (another run) or another length, ends the list: from there on all is
    made anew. With `described` so does one that has nothing beside it.
    """
    finished: list[Path] = []
    while (path := segment_path(folder, len(finished))).is_file():
        try:
            if _digest_path(path).read_bytes() != _digest_of(path).encode():
                break
            if described and not companion_path(path).is_file():
                break
            info = probe(path)
        except (HandoffError, OSError):
            break
        if info.num_frames != frames_per_segment or info.metadata != dict(metadata):
            break
        finished.append(path)
    return finished


def concatenate(segments: Sequence[Path], path: Path, *, metadata: Mapping[str, str]) -> None:
    """Join segments into one video without encoding again.

    Args:
        segments: The segments, in order, in one folder.
        path: The video file.
        metadata: As in `VideoEncoder`.

    Raises:
        HandoffError: A segment is damaged.
        StageFailedError: ffmpeg failed, with its words, or lost frames.
    """
    num_frames = sum(probe(segment).num_frames for segment in segments)
    part, listing = make_part(path), segments[0].with_name("segments.txt")
    try:
        # By their names alone, from within their folder: ffmpeg takes the way there for an address, with `?` and `#`.
        write_durably(listing, "".join(f"file '{segment.name}'\n" for segment in segments))
        source = ["-y", "-f", "concat", "-safe", "0", "-i", listing.name]
        with comment(metadata) as (options, files):
            result = subprocess.run(
                [*ffmpeg_command(), *source, *options, *JOIN, str(part.absolute())],
                cwd=listing.parent,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                process_group=0,
                pass_fds=files,
            )
        if result.returncode:
            raise StageFailedError(
                f"ffmpeg could not join {len(segments)} segments into {path.name}",
                got=f"{describe_exit(result.returncode)}: {quote(result.stderr)}",
                next_step="Check the free disk space, then resume the run.",
            )
        if (joined := probe(part).num_frames) != num_frames:  # ffmpeg skips what it cannot read and reports success
            raise StageFailedError(f"{path.name} lost frames", got=f"{joined} frames", expected=f"{num_frames}")
        publish(part, path)
    finally:
        discard(listing)
        discard(part)
