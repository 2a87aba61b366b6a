"""Two videos held side by side: the frames that both have, by their place on the camera path. Nothing is scaled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sana_wm.errors import UsageError
from sana_wm.video.reader import VideoInfo, probe


@dataclass(frozen=True)
class Clip:
    """A video and where it begins.

    Attributes:
        path: The file.
        info: Its facts.
        first_frame: The frame of the camera path that its first frame shows.
    """

    path: Path
    info: VideoInfo
    first_frame: int = 0

    @classmethod
    def of(cls, path: Path, first_frame: int = 0) -> Clip:
        """A video file.

        Raises:
            HandoffError: It is not a whole video.
        """
        return cls(path, probe(path), first_frame)

    @property
    def size(self) -> tuple[int, int]:
        """Width, height."""
        return self.info.width, self.info.height

    @property
    def chroma(self) -> str:
        """`yuv420p`, without the colour tags."""
        return self.info.pixel_format.partition("(")[0]


@dataclass(frozen=True)
class Pair:
    """Two videos and the frames that both have.

    Attributes:
        a: The one on the left.
        b: The one on the right.
        first_frame: Of the camera path, the first that both show.
        num_frames: How many both show from there on.
    """

    a: Clip
    b: Clip
    first_frame: int
    num_frames: int

    @classmethod
    def of(cls, a: Clip, b: Clip) -> Pair:
        """Two videos, by the frames that both have.

        Raises:
            UsageError: They have none.
        """
        first = max(a.first_frame, b.first_frame)
        end = min(clip.first_frame + clip.info.num_frames for clip in (a, b))
        if end <= first:
            raise UsageError("the two videos have no frame in common", got=f"{a.path} and {b.path}")
        return cls(a, b, first, end - first)

    @property
    def is_comparable(self) -> bool:
        """Whether their frames can be held against each other pixel by pixel."""
        return self.a.size == self.b.size

    @property
    def notes(self) -> tuple[str, ...]:
        """How they differ as files, and what was done about it, in words."""
        a, b = self.a.info, self.b.info
        notes: list[str] = []
        if not self.is_comparable:
            notes.append(
                f"The frames are of different sizes, {a.width}x{a.height} and {b.width}x{b.height}: nothing is scaled, "
                "so PSNR and SSIM are not measured, and the smaller one has a border beside the other."
            )
        if self.num_frames != a.num_frames or self.num_frames != b.num_frames:
            notes.append(
                f"A has {a.num_frames} frames and B {b.num_frames}: compared are the {self.num_frames} that both have, "
                f"frames {self.first_frame} to {self.first_frame + self.num_frames - 1} of the camera path."
            )
        if self.a.first_frame != self.b.first_frame:
            late = "A" if self.a.first_frame > self.b.first_frame else "B"
            notes.append(
                f"The refiner's first frame is dropped in {late} alone; the other is shown from the same one on."
            )
        if a.fps != b.fps:
            notes.append(
                f"A plays {a.fps:g} frames a second and B {b.fps:g}: frames are compared by their number, and shown "
                f"at {a.fps:g} a second."
            )
        if self.is_comparable and self.a.chroma != self.b.chroma:
            notes.append(
                f"Their colours are stored as {self.a.chroma} and {self.b.chroma}: both are measured as yuv444p."
            )
        return tuple(notes)

    def common_of(self, clip: Clip) -> tuple[int, int]:
        """The first common frame by its number in a video, and the one after the last."""
        skip = self.first_frame - clip.first_frame
        return skip, skip + self.num_frames

    def selection(self, clip: Clip) -> str:
        """The filters that leave of a video what both show, its frames numbered from 0 at the pace of A."""
        begin, end = self.common_of(clip)
        return f"trim=start_frame={begin}:end_frame={end},settb=1/{self.a.info.fps:g},setpts=N"
