"""How alike two videos are, frame by frame, by ffmpeg's own filters `psnr` and `ssim`."""

from __future__ import annotations

import math
import re
import subprocess
from dataclasses import dataclass

from sana_wm.errors import HandoffError
from sana_wm.video.encoder import describe_exit, ffmpeg_command, quote
from sana_wm.video.pair import Pair

#: Of 8 bits.
PEAK = 255.0
_VALUE = re.compile(r"^lavfi\.(psnr\.mse_avg|ssim\.All)=(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class PairLikeness:
    """Two videos held against each other.

    Attributes:
        mse: Mean square error of each frame, of values from 0 to 255 over all its planes.
        ssim: Structural similarity of each frame, over all its planes; 1 for equal ones.
    """

    mse: tuple[float, ...]
    ssim: tuple[float, ...]

    @property
    def psnr_db(self) -> tuple[float, ...]:
        """Peak signal-to-noise ratio of each frame; infinite for equal ones."""
        return tuple(map(_psnr_db, self.mse))

    @property
    def whole_psnr_db(self) -> float:
        """Of all frames together."""
        return _psnr_db(sum(self.mse) / len(self.mse))

    @property
    def whole_ssim(self) -> float:
        """Mean of all frames."""
        return sum(self.ssim) / len(self.ssim)

    @property
    def worst_by_psnr(self) -> int:
        """The frame that is least alike, counted from the first that both show."""
        return max(range(len(self.mse)), key=self.mse.__getitem__)

    @property
    def worst_by_ssim(self) -> int:
        """As `worst_by_psnr`."""
        return min(range(len(self.ssim)), key=self.ssim.__getitem__)

    @property
    def is_equal(self) -> bool:
        """Whether all frames have the same pixels."""
        return not any(self.mse)


def measure_pair(pair: Pair) -> PairLikeness:
    """Hold the common frames of two videos of one size against each other.

    Raises:
        HandoffError: A video cannot be decoded to its end.
    """
    chroma = "" if pair.a.chroma == pair.b.chroma else ",format=yuv444p"
    graph = (
        f"[0:v]{pair.selection(pair.a)}{chroma}[a];[1:v]{pair.selection(pair.b)}{chroma},split[b][c];"
        "[a][b]psnr[p];[p][c]ssim,metadata=mode=print:file=-"
    )
    inputs = ["-i", str(pair.a.path), "-i", str(pair.b.path)]
    done = subprocess.run(
        [*ffmpeg_command(), "-xerror", *inputs, "-lavfi", graph, "-f", "null", "-"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        process_group=0,
    )
    values: dict[str, list[float]] = {"psnr.mse_avg": [], "ssim.All": []}
    for name, value in _VALUE.findall(done.stdout.decode()):
        values[name].append(float(value))
    counts = [len(one) for one in values.values()]
    if done.returncode or counts != [pair.num_frames] * 2:
        raise HandoffError(
            f"{pair.a.path} and {pair.b.path} cannot be compared to their end",
            got=f"{describe_exit(done.returncode)} after {min(counts)} frames: {quote(done.stderr) or 'no message'}",
            expected=f"{pair.num_frames} frames of each",
            next_step="Look at both with: sana-wm verify RUN_DIR",
        )
    return PairLikeness(tuple(values["psnr.mse_avg"]), tuple(values["ssim.All"]))


def _psnr_db(mse: float) -> float:
    return 10 * math.log10(PEAK**2 / mse) if mse else math.inf
