"""A video that can be watched while it is made: a fragmented MP4, one fragment for each finished segment.

An MP4 as players want it to be delivered has one index, written when all is known; before that it cannot be opened. A
fragmented one begins with an index of no frames, and each fragment has its own. Source: ISO/IEC 14496-12, section 8.8.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sana_wm.durable import NO_SPACE, durable_file, open_to_append, remove_file
from sana_wm.errors import HandoffError, StageFailedError
from sana_wm.video.encoder import describe_exit, ffmpeg_command, quote

#: Each fragment says when it begins. Without `negative_cts_offsets` its pictures would come later than that.
FRAGMENTED = "frag_keyframe+empty_moov+default_base_moof+frag_discont+negative_cts_offsets"
HEAD, FRAGMENT = (b"ftyp", b"moov"), (b"moof", b"mdat")


class GrowingVideo:
    """Takes finished segments, in order, without encoding again; what it wrote can be opened after each.

    It vouches for nothing: each start makes it anew from the segments.

    Args:
        path: The video file, `.mp4`.
        fps: Frames per second.
        frames_per_segment: Frames in each segment but the last.
    """

    def __init__(self, path: Path, *, fps: int, frames_per_segment: int) -> None:
        self.path = path
        self.fps = fps
        self.frames_per_segment = frames_per_segment

    def begin(self, segments: Sequence[Path]) -> None:
        """Hold just these segments; one of an earlier start can be watched until then.

        Raises:
            HandoffError: The file cannot be written.
            StageFailedError: ffmpeg failed, with its words.
        """
        if not segments:
            remove_file(self.path)
            return
        with durable_file(self.path) as part:
            for number, segment in enumerate(segments):
                self._append(part, segment, number)

    def append(self, segment: Path, number: int) -> None:
        """Take the next segment, the `number`th from 0 on.

        Raises:
            HandoffError: The file cannot be written.
            StageFailedError: ffmpeg failed, with its words.
        """
        if number:
            self._append(self.path, segment, number)
        else:
            self.begin([segment])

    def _append(self, path: Path, segment: Path, number: int) -> None:
        content = self._fragment(segment, number)
        try:
            with open_to_append(path) as file:
                view = memoryview(content)
                while view:  # in one write, unless the system has no room for all of it
                    view = view[os.write(file.fileno(), view) :]
        except OSError as error:
            expected = f"{len(content)} bytes of free space" if error.errno in NO_SPACE else "a folder to write to"
            raise HandoffError(
                f"{self.path} cannot be written",
                got=error.strerror or str(error),
                expected=expected,
                next_step="Free some space, then resume the run; the finished segments are kept.",
            ) from error

    def _fragment(self, segment: Path, number: int) -> bytes:
        begin_s = number * self.frames_per_segment / self.fps
        place = ["-output_ts_offset", f"{begin_s:.6f}", "-fragment_index", str(number + 1)]
        result = subprocess.run(
            [
                *(*ffmpeg_command(), "-i", str(segment.absolute()), "-map", "0:v", "-map_metadata", "-1", "-c", "copy"),
                *(*place, "-movflags", FRAGMENTED, "-f", "mp4", "pipe:1"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            process_group=0,
        )
        if result.returncode:
            raise StageFailedError(
                f"ffmpeg could not add {segment.name} to {self.path.name}",
                got=f"{describe_exit(result.returncode)}: {quote(result.stderr)}",
                next_step="Check the free disk space, then resume the run.",
            )
        return take_boxes(result.stdout, FRAGMENT if number else HEAD + FRAGMENT)


def take_boxes(content: bytes, kinds: Sequence[bytes]) -> bytes:
    """The boxes of some kinds, in their order, of a short MP4 (ISO/IEC 14496-12, section 4.2).

    Args:
        content: The file; its boxes say their size in 32 bits, as ffmpeg writes those below 4 GiB.
        kinds: Names of four bytes.
    """
    taken, position = bytearray(), 0
    while position < len(content):
        size_bytes = int.from_bytes(content[position : position + 4], "big")
        if size_bytes < 8:
            raise StageFailedError("ffmpeg wrote a box of no size", got=size_bytes, expected="8 bytes at least")
        if content[position + 4 : position + 8] in kinds:
            taken += content[position : position + size_bytes]
        position += size_bytes
    return bytes(taken)
