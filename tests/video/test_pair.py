"""Two videos beside each other: which frames are held against which, what ffmpeg measures, what is drawn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sana_wm.errors import HandoffError, UsageError
from sana_wm.video.encoder import VideoEncoder
from sana_wm.video.pair import Clip, Pair
from sana_wm.video.pair_likeness import measure_pair
from sana_wm.video.reader import probe, read_frames
from sana_wm.video.side_by_side import GAP_PX, LABEL_PX, draw_frames, draw_labels, write_side_by_side

WIDTH, HEIGHT = 64, 32


def flat(levels: list[int], width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    return np.stack([np.full((height, width, 3), level, np.uint8) for level in levels])


def write(path: Path, frames: NDArray[np.uint8], fps: int = 16, pixel_format: str = "yuv444p") -> Clip:
    _, height, width, _ = frames.shape
    with VideoEncoder(path, width=width, height=height, fps=fps, crf=0, pixel_format=pixel_format) as encoder:
        encoder.put(frames)
    return Clip.of(path)


def test_equal_videos_are_said_to_be_equal(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (5, HEIGHT, WIDTH, 3), dtype=np.uint8)
    pair = Pair.of(write(tmp_path / "a.mp4", noise), write(tmp_path / "b.mp4", noise))
    likeness = measure_pair(pair)
    assert likeness.is_equal
    assert likeness.ssim == (1.0,) * 5
    assert likeness.whole_psnr_db == math.inf
    assert pair.notes == ()


def test_figures_are_those_of_the_frames_that_differ(tmp_path: Path) -> None:
    a = write(tmp_path / "a.mp4", flat([100, 100, 100, 100]))
    b = write(tmp_path / "b.mp4", flat([100, 110, 150, 100]))
    likeness = measure_pair(Pair.of(a, b))
    shown = [[frame.astype(float) for frame in read_frames(clip.path)] for clip in (a, b)]
    luma = [(np.mean(y - x) * 219 / 255) ** 2 for x, y in zip(*shown, strict=True)]  # limited range; grey has no chroma
    assert likeness.mse == pytest.approx([one / 3 for one in luma], abs=2)
    assert likeness.psnr_db[0] == math.inf
    assert likeness.worst_by_psnr == likeness.worst_by_ssim == 2
    assert likeness.whole_psnr_db == pytest.approx(10 * math.log10(255**2 / np.mean(likeness.mse)))


def test_frames_are_matched_by_their_place_on_the_camera_path(tmp_path: Path) -> None:
    """A refined video begins with the second frame: it must be held against the other's second, not its first."""
    whole = write(tmp_path / "whole.mp4", flat([10, 60, 110, 160, 210]))
    late = write(tmp_path / "late.mp4", flat([60, 110, 160]))
    late = Clip(late.path, late.info, first_frame=1)
    pair = Pair.of(whole, late)
    assert (pair.first_frame, pair.num_frames) == (1, 3)
    assert measure_pair(pair).is_equal
    assert any("frames 1 to 3 of the camera path" in note for note in pair.notes)
    assert any("dropped in B alone" in note for note in pair.notes)
    write_side_by_side(pair, ("A", "B"), tmp_path / "both.mp4")
    frames = list(read_frames(tmp_path / "both.mp4"))
    assert [round(float(frame[LABEL_PX:, :WIDTH].mean()), -1) for frame in frames] == [60, 110, 160]
    picture = draw_frames(pair, 2)
    assert picture.startswith(b"\x89PNG")


def test_frames_of_different_sizes_are_neither_measured_nor_scaled(tmp_path: Path) -> None:
    large = write(tmp_path / "large.mp4", flat([200, 200], width=96, height=48))
    small = write(tmp_path / "small.mp4", flat([200, 200, 200]))
    pair = Pair.of(large, small)
    assert not pair.is_comparable
    assert "96x48 and 64x32: nothing is scaled" in pair.notes[0]
    write_side_by_side(pair, ("A", "B"), tmp_path / "both.mp4")
    info = probe(tmp_path / "both.mp4")
    assert (info.width, info.height, info.num_frames) == (96 + GAP_PX + 64, 48 + LABEL_PX, 2)
    frame = next(read_frames(tmp_path / "both.mp4"))
    right = frame[LABEL_PX:, 96 + GAP_PX :].mean(-1)
    assert right[4:28, 4:60].min() > 190
    assert right[36:, 4:60].max() < 10  # a border, not a stretched picture


def test_another_pace_and_other_chroma_are_said(tmp_path: Path) -> None:
    a = write(tmp_path / "a.mp4", flat([50, 60]), fps=16)
    b = write(tmp_path / "b.mp4", flat([50, 60]), fps=24, pixel_format="yuv420p")
    pair = Pair.of(a, b)
    assert any("A plays 16 frames a second and B 24" in note for note in pair.notes)
    assert any("yuv444p and yuv420p" in note for note in pair.notes)
    assert measure_pair(pair).is_equal
    write_side_by_side(pair, ("A", "B"), tmp_path / "both.mp4")
    assert probe(tmp_path / "both.mp4").fps == 16


def test_videos_without_a_common_frame_are_refused(tmp_path: Path) -> None:
    clip = write(tmp_path / "a.mp4", flat([50, 60]))
    with pytest.raises(UsageError, match="no frame in common"):
        Pair.of(clip, Clip(clip.path, clip.info, first_frame=2))


def test_a_damaged_video_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, HEIGHT, WIDTH, 3), dtype=np.uint8)
    a, b = write(tmp_path / "a.mp4", noise), write(tmp_path / "b.mp4", noise)
    data = bytearray(b.path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20000] = bytes(20000)
    b.path.write_bytes(data)
    with pytest.raises(HandoffError, match="cannot be compared to their end"):
        measure_pair(Pair.of(a, b))


def test_labels_fit_their_halves() -> None:
    strip = np.asarray(draw_labels(("A: a very long name that fits nowhere at all", "B: short"), 120, 160))
    assert strip.shape == (LABEL_PX, 280, 3)
    assert strip[:, 112:120].std() == 0  # the first ends before the second half
    assert strip[:, 128:200].std() > 0
