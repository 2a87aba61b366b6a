"""Measures that tell a broken video from a meaningful one, taken frame by frame while decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SAMPLED_ROWS = 176
"""Rows of the grid of pixels that is looked at: every fourth at 704x1280."""

LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
"""BT.709 weights of red, green and blue."""


Kind = Literal["black", "constant", "saturated", "detail collapsed"]


@dataclass(frozen=True)
class FrameStatistics:
    """Measures of one frame, on 8-bit luma.

    Attributes:
        mean: Mean, 0 to 255.
        std: Standard deviation.
        saturated_share: Share of colour values at 0 or 255.
        laplacian_energy: Mean square of the 4-neighbour Laplacian: how much fine detail there is.
    """

    mean: float
    std: float
    saturated_share: float
    laplacian_energy: float


@dataclass(frozen=True)
class SanityLimits:
    """When a frame counts as broken.

    The defaults are far from any picture: decoded noise of random weights has a standard deviation near 40, under 2 %
    of saturated values and a Laplacian energy over 100; night scenes keep a mean over 4.

    Attributes:
        black_mean: Black below this mean, when also `constant_std` is not reached.
        constant_std: Constant below this standard deviation.
        saturated_share: Saturated above this share.
        laplacian_share: Detail has collapsed below this share of the video's median Laplacian energy.
    """

    black_mean: float = 4.0
    constant_std: float = 1.0
    saturated_share: float = 0.95
    laplacian_share: float = 0.01


@dataclass(frozen=True)
class Finding:
    """A run of broken frames.

    Attributes:
        kind: What is wrong with them.
        first_frame: First frame.
        last_frame: Last frame, included.
    """

    kind: Kind
    first_frame: int
    last_frame: int

    def __str__(self) -> str:
        return f"frames {self.first_frame}-{self.last_frame} {self.kind}"


def measure_frame(frame: NDArray[np.uint8]) -> FrameStatistics:
    """Measure one frame, uint8 (H, W, 3); about a millisecond at 704x1280."""
    stride = max(1, frame.shape[0] // SAMPLED_ROWS)
    sampled = frame[::stride, ::stride]
    luma = sampled.astype(np.float32) @ LUMA
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    return FrameStatistics(
        mean=float(luma.mean()),
        std=float(luma.std()),
        saturated_share=float(np.mean((sampled == 0) | (sampled == 255))),
        laplacian_energy=float(np.mean(laplacian**2)),
    )


def judge_frames(statistics: Sequence[FrameStatistics], limits: SanityLimits | None = None) -> list[Finding]:
    """The runs of broken frames, in order; each frame counts for the first kind that fits it.

    Args:
        statistics: Of all frames, in order.
        limits: Limits other than the defaults.
    """
    limits = limits or SanityLimits()
    detail = limits.laplacian_share * float(np.median([frame.laplacian_energy for frame in statistics] or [0.0]))
    kinds: list[Kind | None] = [_kind(frame, limits, detail) for frame in statistics]
    findings: list[Finding] = []
    for _, run in groupby(range(len(kinds)), key=lambda frame: kinds[frame]):
        frames = list(run)
        if (kind := kinds[frames[0]]) is not None:
            findings.append(Finding(kind, frames[0], frames[-1]))
    return findings


def _kind(frame: FrameStatistics, limits: SanityLimits, detail: float) -> Kind | None:
    if frame.std < limits.constant_std:
        return "black" if frame.mean < limits.black_mean else "constant"
    if frame.saturated_share > limits.saturated_share:
        return "saturated"
    return "detail collapsed" if frame.laplacian_energy < detail else None
