"""A video that is watched while it is made, opened by ffmpeg at every moment of its life."""

from __future__ import annotations

import resource
import subprocess

import numpy as np
import pytest

from sana_wm.errors import HandoffError, StageFailedError
from sana_wm.video.encoder import ffmpeg_command, usable_codecs
from sana_wm.video.growing import HEAD, GrowingVideo, take_boxes
from sana_wm.video.reader import probe, read_frames
from sana_wm.video.segments import SegmentedEncoder


def open_growing(path, fps):
    return GrowingVideo(path, fps=fps, frames_per_segment=8)


def frames_of(path):
    return np.stack(list(read_frames(path)))


def times_of(path, fps, *, strict=True):
    """When each frame is shown, in frames, as a player that opens the file now sees it; a strict one minds damage."""
    command = [
        *ffmpeg_command(),
        *(["-xerror"] if strict else []),
        "-i",
        path,
        "-enc_time_base",
        f"1/{fps}",
        "-f",
        "framecrc",
        "-",
    ]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [int(line.split(",")[2]) for line in listing.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("codec", [name for name in usable_codecs() if name.startswith("lib")])
@pytest.mark.parametrize("fps", [16, 24, 30])
def test_it_opens_after_each_segment_and_holds_the_frames_so_far(tmp_path, frames, size, codec, fps):
    growing = open_growing(tmp_path / "growing.mp4", fps)
    options = {**size, "fps": fps, "codec": codec, "preset": "medium"}  # a preset with pictures out of order
    with SegmentedEncoder(tmp_path / "segments", frames_per_segment=8, growing=growing, **options) as encoder:
        for start in range(0, 37, 3):
            encoder.put(frames[start : min(start + 3, 37)])
            finished = min(start + 3, 37) // 8 * 8
            assert growing.path.exists() == (finished > 0)
            if finished:
                assert times_of(growing.path, fps) == list(range(finished))
    assert times_of(growing.path, fps) == list(range(37))
    segments = [frames_of(path) for path in sorted((tmp_path / "segments").glob("*.mp4"))]
    assert np.array_equal(frames_of(growing.path), np.concatenate(segments))
    assert probe(growing.path).fps == fps


def test_a_start_makes_it_anew_from_the_finished_segments(tmp_path, frames, size):
    growing = open_growing(tmp_path / "growing.mp4", 16)
    with SegmentedEncoder(tmp_path, frames_per_segment=8, growing=growing, **size) as encoder:
        encoder.put(frames[:24])
    whole = growing.path.read_bytes()
    growing.path.write_bytes(whole[:-100])  # a machine that lost its power
    segments = sorted(tmp_path.glob("0*.mp4"))
    growing.begin(segments[:2])
    assert times_of(growing.path, 16) == list(range(16))
    growing.append(segments[2], 2)
    assert growing.path.read_bytes() == whole
    growing.begin([])
    assert not growing.path.exists()


def test_what_a_kill_in_the_middle_of_a_fragment_leaves_can_be_opened(tmp_path, frames, size):
    growing = open_growing(tmp_path / "growing.mp4", 16)
    with SegmentedEncoder(tmp_path, frames_per_segment=8, growing=growing, **size) as encoder:
        encoder.put(frames[:8])
        before = growing.path.stat().st_size
        encoder.put(frames[8:16])
    whole = growing.path.read_bytes()
    for cut in np.linspace(before, len(whole), 6).astype(int):
        growing.path.write_bytes(whole[:cut])
        assert 8 <= len(times_of(growing.path, 16, strict=False)) <= 16


def test_its_index_comes_first_and_has_no_frames(tmp_path, frames, size):
    growing = open_growing(tmp_path / "growing.mp4", 16)
    with SegmentedEncoder(tmp_path, frames_per_segment=8, growing=growing, **size) as encoder:
        encoder.put(frames[:16])
    content = growing.path.read_bytes()
    head = take_boxes(content, HEAD)
    assert content.startswith(head)
    assert b"mvex" in head
    assert content.count(b"moof") == content.count(b"mdat") == 2


def test_a_segment_that_is_none_is_refused(tmp_path):
    (tmp_path / "00000.mp4").write_bytes(b"not a video")
    with pytest.raises(StageFailedError, match=r"could not add 00000\.mp4 to growing\.mp4"):
        open_growing(tmp_path / "growing.mp4", 16).append(tmp_path / "00000.mp4", 0)
    assert not (tmp_path / "growing.mp4").exists()


def test_what_the_disk_does_not_take_is_said(tmp_path, frames, size):
    with SegmentedEncoder(tmp_path, frames_per_segment=8, **size) as encoder:
        encoder.put(frames[:16])
    growing = open_growing(tmp_path / "growing.mp4", 16)
    growing.append(tmp_path / "00000.mp4", 0)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (growing.path.stat().st_size, limit[1]))
    try:
        with pytest.raises(HandoffError, match=r"growing\.mp4 cannot be written; got File too large"):
            growing.append(tmp_path / "00001.mp4", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
