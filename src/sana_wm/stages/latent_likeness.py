"""Decoded frames held against the latents that they were decoded from.

What the latents say is a linear map of each latent to the mean colours of the eight frames that it becomes, fitted on
the run itself: on the frames before, which have been judged, or where there are too few on all but the latent in
question. Nothing is assumed of the weights: where the map explains little, its usual distance is large and little is
found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sana_wm.models.latent_colours import LatentColours, LatentMap, tokens_of
from sana_wm.sizes import FRAMES_PER_LATENT
from sana_wm.video.likeness import NEAR, distance, name_change, off_tiles, untold_jumps
from sana_wm.video.sanity import Finding, FrameStatistics, runs_of

#: Samples for each number of the map before anything is judged: 704x1280 has them after two latents, 96x160 never.
SAMPLES_PER_CHANNEL = 10
#: Share of the tiles that a frame must be off in, and frames in a row: a whole latent is, and not one event's time.
LEAST_SHARE, LEAST_FRAMES = 0.2, FRAMES_PER_LATENT + 1
#: Frames in a row that show the same change.
LEAST_CHANGED_FRAMES = 3
#: How strange a token may be to the map (`LatentMap.strangeness`). Known scenes have 0.3, a tunnel after a forest 20.
FAMILIAR = 3.0
#: Latents that the usual distance is taken from, evenly spaced.
USUAL_LATENTS = 32
#: Change of a token, root mean square, from which on its frames cannot be the same to the last bit.
TOKEN_CHANGE = 0.01
#: Tiles that must stand still.
STALE_TILES = 4


@dataclass
class _Judged:
    """What was found of each frame so far judged, by number among the frames shown."""

    off: dict[int, bool]
    jumps: set[int]
    changes: dict[int, str | None]


class LatentLikeness:
    """Says which frames are not what their latents make of them.

    Args:
        latents: (C, F, h, w), on the CPU.
        first_frame: Which of the decoded frames is the first one shown.

    Attributes:
        doubts: What the last judgement found too short to be sure of.
    """

    def __init__(self, latents: torch.Tensor, first_frame: int) -> None:
        self.doubts: list[Finding] = []
        self._latents = latents
        self._first = first_frame
        self._fit = LatentColours()
        self._fitted = 0

    def judge(self, statistics: Sequence[FrameStatistics], from_frame: int, *, is_end: bool) -> list[Finding]:
        """Judge frames whose latents have all of their frames.

        Args:
            statistics: Of all frames shown so far.
            from_frame: The first frame to judge; those before count for the map.
            is_end: Whether no frame follows.
        """
        known, complete = self._complete(from_frame), self._complete(len(statistics))
        self._fit_up_to(known, statistics)
        # One latent more: what began there may need a few frames to be seen.
        latents = range(max(1, known), complete + 1)
        findings = [*self._stalls(statistics, latents), *self._stale_tiles(statistics, latents)]
        before = self._fit.fit() if self._fit.num_samples >= self._least_samples else None
        self._fit_up_to(complete, statistics)
        if before is None and self._fit.num_samples - self._tokens(0).shape[0] < self._least_samples:
            return findings
        if latents:
            usual = self._usual_distance(
                statistics, before if before is not None else self._fit.fit(), known or complete
            )
            judged = self._hold_against_map(statistics, latents, before, usual)
            off = _off_runs(judged)
            self.doubts = [run for run in off if not _is_long(run, judged, is_end=is_end)]
            findings += [run for run in off if _is_long(run, judged, is_end=is_end)]
            findings += _changed_runs(judged, is_end=is_end)
        return findings

    @property
    def _least_samples(self) -> int:
        return SAMPLES_PER_CHANNEL * self._latents.shape[0]

    def _complete(self, num_frames: int) -> int:
        """Latents after the first that have all of their frames among so many shown."""
        return max(0, (num_frames + self._first - 1) // FRAMES_PER_LATENT)

    def _fit_up_to(self, latent: int, statistics: Sequence[FrameStatistics]) -> None:
        for index in range(self._fitted + 1, latent + 1):
            self._fit.add(self._tokens(index), self._shown(statistics, index))
        self._fitted = max(self._fitted, latent)

    def _hold_against_map(
        self, statistics: Sequence[FrameStatistics], latents: range, before: LatentMap | None, usual: float
    ) -> _Judged:
        judged = _Judged({}, set(), {})
        for latent in latents:
            tokens = self._tokens(latent)
            latent_map = before or self._fit.fit(without=(tokens, self._shown(statistics, latent)))
            familiar = latent_map.strangeness(tokens).reshape(self._latents.shape[-2:]) <= FAMILIAR
            around = {
                index: self._told(index, latent_map)
                for index in range(max(1, latent - 1), min(latent + 2, self._latents.shape[1]))
            }
            for frame in self._frames_of(latent):
                shown = statistics[frame].colours.astype(np.float64)
                place = (frame + self._first - 1) % FRAMES_PER_LATENT
                told = around[latent][place]
                judged.off[frame] = float((familiar & off_tiles(shown, told, usual)).mean()) >= LEAST_SHARE
                apart = distance(shown, told)
                judged.changes[frame] = name_change(shown, told) if apart > max(NEAR, 2 * usual) else None
                if frame:
                    last = statistics[frame - 1].colours.astype(np.float64)
                    # A latent may tell of an event a few frames off, never a whole latent off.
                    later = around[latent + 1][place] if latent + 1 in around else around[latent][-1]
                    earlier = around[latent - 1][place] if latent - 1 in around else around[latent][0]
                    if (familiar & untold_jumps(last, shown, later - earlier)).mean() >= LEAST_SHARE:
                        judged.jumps.add(frame)
        return judged

    def _usual_distance(self, statistics: Sequence[FrameStatistics], latent_map: LatentMap, num_latents: int) -> float:
        """Median distance of the frames of the first latents from a map."""
        count = min(num_latents, USUAL_LATENTS)
        chosen = np.unique(np.linspace(1, num_latents, count).round().astype(int)).tolist()
        distances = [
            distance(statistics[frame].colours.astype(np.float64), said)
            for latent in chosen
            for frame, said in zip(self._frames_of(latent), self._told(latent, latent_map), strict=True)
        ]
        return float(np.median(distances))

    def _stalls(self, statistics: Sequence[FrameStatistics], latents: range) -> list[Finding]:
        """Frames equal to the one before, in the middle of motion: two pairs before and two behind them differ."""
        frames = range(self._frames_of(latents.start)[0], self._frames_of(latents.stop)[0]) if latents else range(0)
        around = range(max(1, frames.start - 2), min(frames.stop + 2, len(statistics)))
        repeats = {frame: _repeats_last(statistics, frame) for frame in around}
        moves = {frame: not _same_tiles(statistics, frame).any() for frame in around}
        return [
            Finding("repeat the frame before, in the middle of motion", first, last)
            for first, last in runs_of(repeats)
            if all(moves.get(frame) for frame in (first - 2, first - 1, last + 1, last + 2))
            and last - first + 1 <= FRAMES_PER_LATENT
        ]

    def _stale_tiles(self, statistics: Sequence[FrameStatistics], latents: range) -> list[Finding]:
        """Parts of the picture that are the same to the last bit over two latents, while those differ there."""
        findings: list[Finding] = []
        for latent in latents:
            if latent < 2:
                continue
            frames = [*self._frames_of(latent - 1), *self._frames_of(latent)]
            stale = np.all(
                [_same_tiles(statistics, frame) & statistics[frame].textured for frame in frames[1:]], axis=0
            )
            change = (self._latents[:, latent] - self._latents[:, latent - 1]).double().square().mean(0).sqrt()
            stale &= change.numpy() >= TOKEN_CHANGE
            if stale.sum() >= STALE_TILES:
                findings.append(Finding("stand still in part while their latents change", frames[0], frames[-1]))
        return findings

    def _frames_of(self, latent: int) -> list[int]:
        """Numbers, among the frames shown, of the eight frames of a latent after the first."""
        begin = FRAMES_PER_LATENT * (latent - 1) + 1 - self._first
        return list(range(begin, begin + FRAMES_PER_LATENT))

    def _tokens(self, latent: int) -> NDArray[np.float64]:
        return tokens_of(self._latents[:, latent])

    def _shown(self, statistics: Sequence[FrameStatistics], latent: int) -> NDArray[np.float64]:
        """Mean colours of a latent's frames, (h * w, 24)."""
        colours = np.stack([statistics[frame].colours for frame in self._frames_of(latent)], axis=2)
        return colours.reshape(-1, FRAMES_PER_LATENT * 3).astype(np.float64)

    def _told(self, latent: int, latent_map: LatentMap) -> NDArray[np.float64]:
        """Mean colours of a latent's frames by the map, (8, h, w, 3)."""
        height, width = self._latents.shape[-2:]
        colours = latent_map.colours(self._tokens(latent))
        return colours.reshape(height, width, FRAMES_PER_LATENT, 3).transpose(2, 0, 1, 3).clip(0, 255)


def _same_tiles(statistics: Sequence[FrameStatistics], frame: int) -> NDArray[np.bool_]:
    """Which tiles are those of the frame before to the last bit."""
    return statistics[frame].fingerprints == statistics[frame - 1].fingerprints


def _repeats_last(statistics: Sequence[FrameStatistics], frame: int) -> bool:
    textured = statistics[frame].textured
    return bool(textured.mean() >= 0.5 and _same_tiles(statistics, frame).all())


def _off_runs(judged: _Judged) -> list[Finding]:
    """Runs of frames off their latents that begin or end with a jump that no latent tells of."""
    return [
        Finding("do not show what their latents say", first, last)
        for first, last in runs_of(judged.off)
        if {first, last + 1} & judged.jumps
    ]


def _is_long(run: Finding, judged: _Judged, *, is_end: bool) -> bool:
    """Whether a run is longer than an event that its latents may tell of a little off; the end of a video ends one."""
    ends = is_end and run.last_frame == max(judged.off)
    return ends or run.last_frame - run.first_frame + 1 >= LEAST_FRAMES


def _changed_runs(judged: _Judged, *, is_end: bool) -> list[Finding]:
    """Runs of frames that show what their latents say, changed in one simple way."""
    end = max(judged.changes) + 1
    return [
        Finding(f"show what their latents say, {words}", first, last)
        for words in dict.fromkeys(words for words in judged.changes.values() if words)
        for first, last in runs_of({frame: found == words for frame, found in judged.changes.items()})
        if last - first + 1 >= LEAST_CHANGED_FRAMES or (is_end and last + 1 == end)
    ]
