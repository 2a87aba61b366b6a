"""Signs of wrong arithmetic in decoded frames, measured frame by frame and judged over several.

Two kinds of finding. What only arithmetic makes is refused: noise, checkerboards, blocks cut at the latent grid, combs
of unwritten lines, blocks out of order. What a camera may see, such as a tunnel, fog or a white wall, is a warning.
`sana_wm.video.likeness` holds frames against what they should show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from sana_wm.video import tiles
from sana_wm.video.tiles import TileKind

LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
"""BT.709 weights of red, green and blue."""

TEXTURED_STD = 4.0
"""Luma deviation from which on a tile shows something, so that its equal is no accident."""


@dataclass(frozen=True)
class FrameStatistics:
    """Measures of one frame, on 8-bit values; (h, w) is the latent grid.

    Attributes:
        mean: Mean luma, 0 to 255.
        std: Its standard deviation.
        saturated_share: Share of colour values at 0 or 255.
        laplacian_energy: Mean square of the luma's 4-neighbour Laplacian: how much fine detail there is.
        comb_share: Of `tiles.comb_share`.
        seam_ratio: Of `tiles.seam_ratio`.
        block_edges: Of `tiles.saturated_block_edges`.
        kinds: `TileKind` of every tile, uint8 (h, w).
        textured: Which tiles show something, bool (h, w).
        colours: Mean colours, uint8 (h, w, 3).
        fingerprints: uint32 (h, w), equal for equal tiles.
    """

    mean: float
    std: float
    saturated_share: float
    laplacian_energy: float
    comb_share: float
    seam_ratio: float
    block_edges: int
    kinds: NDArray[np.uint8]
    textured: NDArray[np.bool_]
    colours: NDArray[np.uint8]
    fingerprints: NDArray[np.uint32]


@dataclass(frozen=True)
class SanityLimits:
    """When a frame gets a warning.

    Attributes:
        black_mean: Black below this mean, when also `constant_std` is not reached.
        constant_std: Constant below this standard deviation.
        saturated_share: Saturated above this share.
        laplacian_share: Without detail below this share of the video's median Laplacian energy.
    """

    black_mean: float = 4.0
    constant_std: float = 1.0
    saturated_share: float = 0.95
    laplacian_share: float = 0.01


@dataclass(frozen=True)
class Finding:
    """A run of frames with something to say of them.

    Attributes:
        kind: What it is.
        first_frame: First frame.
        last_frame: Last frame, included.
    """

    kind: str
    first_frame: int
    last_frame: int

    def __str__(self) -> str:
        return f"frames {self.first_frame}-{self.last_frame} {self.kind}"


@dataclass(frozen=True)
class Sign:
    """A sign of wrong arithmetic.

    Attributes:
        kind: What it is called.
        strength: How much of it a frame shows; 0 for none.
        least: The strengths of frames in a row have to add up to this.
    """

    kind: str
    strength: Callable[[FrameStatistics], float]
    least: float


#: Each shows in several frames, or in several tiles of one. Random weights decode to noise, too, and stay below them.
SIGNS = (
    Sign("hold tiles of colour noise", lambda frame: _count(frame, TileKind.COLOUR_NOISE), 4),
    Sign("are noise", lambda frame: _count(frame, TileKind.GREY_NOISE) >= 0.9 * frame.kinds.size, 3),
    Sign("are a checkerboard", lambda frame: _count(frame, TileKind.CHECKERBOARD) >= 0.5 * frame.kinds.size, 3),
    Sign("hold a saturated block cut at the latent grid", lambda frame: frame.block_edges, 8),
    Sign("have rows or columns without a picture", lambda frame: frame.comb_share >= 0.15, 3),
    Sign("have their blocks out of order", lambda frame: frame.seam_ratio >= 3, 3),
)


def measure_frame(frame: NDArray[np.uint8]) -> FrameStatistics:
    """Measure one frame, uint8 (H, W, 3); 40 ms at 704x1280 on one core of 2.5 GHz."""
    luma = frame.astype(np.float32) @ LUMA
    laplacian = np.zeros_like(luma)
    inner = luma[1:-1, 1:-1]
    laplacian[1:-1, 1:-1] = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    return FrameStatistics(
        mean=float(luma.mean()),
        std=float(luma.std()),
        saturated_share=float(np.mean((frame == 0) | (frame == 255))),
        laplacian_energy=float(np.mean(laplacian[1:-1, 1:-1] ** 2)),
        comb_share=tiles.comb_share(frame),
        seam_ratio=tiles.seam_ratio(luma),
        block_edges=tiles.saturated_block_edges(frame, luma),
        kinds=tiles.kinds(frame, luma, laplacian),
        textured=tiles.split_tiles(luma).std((2, 3)) >= TEXTURED_STD,
        colours=tiles.mean_colours(frame),
        fingerprints=tiles.fingerprints(frame),
    )


def judge_frames(statistics: Sequence[FrameStatistics], picture: FrameStatistics | None = None) -> list[Finding]:
    """What the frames alone give away of wrong arithmetic.

    Args:
        statistics: Of frames in a row.
        picture: Of the input picture, where it is at hand: a sign that it shows itself is none.

    Returns:
        A finding for each run of frames that shows a sign strongly enough, by sign, then in order.
    """
    findings: list[Finding] = []
    for sign in SIGNS:
        if picture is not None and sign.strength(picture) > 0:
            continue
        strengths = [float(sign.strength(frame)) for frame in statistics]
        for first, last in runs_of({frame: strength > 0 for frame, strength in enumerate(strengths)}):
            if sum(strengths[first : last + 1]) >= sign.least:
                findings.append(Finding(sign.kind, first, last))
    return findings


def warn_of_frames(statistics: Sequence[FrameStatistics], limits: SanityLimits | None = None) -> list[Finding]:
    """What is worth a look and may well be meant; each frame counts for the first kind that fits it.

    Args:
        statistics: Of all frames, in order.
        limits: Limits other than the defaults.
    """
    limits = limits or SanityLimits()
    detail = limits.laplacian_share * float(np.median([frame.laplacian_energy for frame in statistics] or [0.0]))
    kinds = [_warning(frame, limits, detail) for frame in statistics]
    return [
        Finding(kind, first, last)
        for kind in dict.fromkeys(found for found in kinds if found is not None)
        for first, last in runs_of({frame: found == kind for frame, found in enumerate(kinds)})
    ]


def _warning(frame: FrameStatistics, limits: SanityLimits, detail: float) -> str | None:
    if frame.std < limits.constant_std:
        return "black" if frame.mean < limits.black_mean else "constant"
    if frame.saturated_share > limits.saturated_share:
        return "saturated"
    return "almost without detail" if frame.laplacian_energy < detail else None


def _count(frame: FrameStatistics, kind: TileKind) -> int:
    return int(np.count_nonzero(frame.kinds == kind))


def runs_of(marks: Mapping[int, bool]) -> list[tuple[int, int]]:
    """First and last frame of each run of marked ones; the frames, by number, follow one another."""
    runs: list[tuple[int, int]] = []
    for marked, group in groupby(marks, key=lambda frame: marks[frame]):
        frames = list(group)
        if marked:
            runs.append((frames[0], frames[-1]))
    return runs
