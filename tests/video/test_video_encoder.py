from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from sana_wm.errors import HandoffError, StageFailedError, UsageError
from sana_wm.video.encoder import VideoEncoder, check_codec, ffmpeg_binary, usable_codecs
from sana_wm.video.reader import probe, read_frames
from sana_wm.video.segments import SegmentedEncoder, companion_path, concatenate, finished_segments

METADATA = {"manifest_hash": "3f\\a=b;c", "seed": "42", "package_version": "0.1.0"}


def encode(path, frames, size, **options):
    with VideoEncoder(path, **size, **options) as encoder:
        for start in range(0, len(frames), 3):
            encoder.put(frames[start : start + 3])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def own_ffmpeg():
    return [child for child in psutil.Process().children() if "ffmpeg" in child.name()]


def test_a_video_reads_back_as_it_was_written(tmp_path, frames, size):
    path = tmp_path / "video.mp4"
    encode(path, frames, size, metadata=METADATA)
    info = probe(path)
    assert (info.width, info.height, info.fps, info.num_frames) == (96, 64, 16, 40)
    assert info.metadata == METADATA
    assert (info.codec, info.pixel_format) == ("h264", "yuv420p(tv, bt709, progressive)")
    decoded = np.stack(list(read_frames(path)))
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 4
    assert names(tmp_path) == ["video.mp4"]


def test_red_stays_red_and_is_bt709(tmp_path, size):
    path = tmp_path / "red.mp4"
    encode(path, np.full((3, 64, 96, 3), (255, 0, 0), np.uint8), size)
    assert np.abs(next(read_frames(path)).astype(int) - (255, 0, 0)).max() <= 2
    luma = subprocess.run(
        [VideoEncoder(path, **size)._command[0], "-v", "error", "-i", path, "-frames:v", "1", "-f", "rawvideo", "-"],
        capture_output=True,
        check=True,
    ).stdout[0]
    assert luma == 63  # BT.601 would be 81


def test_the_moov_atom_comes_first_so_that_players_start_at_once(tmp_path, frames, size):
    encode(tmp_path / "video.mp4", frames, size)
    data = (tmp_path / "video.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_ffmpeg_killed_midway_fails_and_leaves_nothing(tmp_path, frames, size):
    def put_until_it_fails():
        with VideoEncoder(tmp_path / "video.mp4", **size) as encoder:
            encoder.put(frames[:3])
            os.kill(encoder._process.pid, signal.SIGKILL)
            while True:
                encoder.put(frames)

    with pytest.raises(StageFailedError, match="killed by SIGKILL"):
        put_until_it_fails()
    assert names(tmp_path) == []


def test_ffmpeg_killed_after_the_last_frame_fails_and_leaves_nothing(tmp_path, frames, size):
    def put_and_kill():
        with VideoEncoder(tmp_path / "video.mp4", **size) as encoder:
            encoder.put(frames)
            while not encoder._queue.empty():
                time.sleep(0.01)
            os.kill(encoder._process.pid, signal.SIGKILL)

    with pytest.raises(StageFailedError, match="killed by SIGKILL after 40 frames"):
        put_and_kill()
    assert names(tmp_path) == []


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_an_exception_kills_ffmpeg_and_keeps_the_old_video(tmp_path, frames, size, stopped):
    (tmp_path / "video.mp4").write_bytes(b"of an earlier run")

    def interrupt():
        with VideoEncoder(tmp_path / "video.mp4", **size) as encoder:
            if stopped:
                os.kill(encoder._process.pid, signal.SIGSTOP)
            encoder.put(frames)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert own_ffmpeg() == []
    assert names(tmp_path) == ["video.mp4"]
    assert (tmp_path / "video.mp4").read_bytes() == b"of an earlier run"


def make_noise():
    return np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3), np.uint8)


def test_a_full_disk_fails_with_the_words_of_ffmpeg(tmp_path, size):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk]
    if sys.platform != "linux" or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("may not mount a small disk here")
    try:
        with pytest.raises(StageFailedError, match="No space left on device"):
            encode(disk / "video.mp4", make_noise(), size, crf=1)
        assert names(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_size_limit_fails_and_leaves_nothing(tmp_path, size):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limit[1]))  # inherited by ffmpeg
    try:
        with pytest.raises(StageFailedError, match="ffmpeg did not finish"):
            encode(tmp_path / "video.mp4", make_noise(), size, crf=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert names(tmp_path) == []


@pytest.mark.parametrize("codec", ["h265", "mpeg4"])
def test_a_codec_that_is_not_there_is_refused_with_those_that_are(tmp_path, size, codec):
    with pytest.raises(UsageError, match=f"got {codec}; expected libx264"):
        VideoEncoder(tmp_path / "video.mp4", **size, codec=codec)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has it")
def test_videotoolbox_is_refused_where_it_is_not(tmp_path, size):
    with pytest.raises(UsageError, match="VideoToolbox codecs exist on macOS only"):
        VideoEncoder(tmp_path / "video.mp4", **size, codec="h264_videotoolbox")


def test_a_bad_pixel_format_fails_with_the_words_of_ffmpeg(tmp_path, frames, size):
    with pytest.raises(StageFailedError, match="yuv999"):
        encode(tmp_path / "video.mp4", frames, size, pixel_format="yuv999")
    assert names(tmp_path) == []


def test_frames_of_another_size_are_refused(tmp_path, frames, size):
    for wrong in (frames[:, :-1], frames.astype(np.float32), frames[0]):
        with pytest.raises(StageFailedError, match="do not fit the video"):
            encode(tmp_path / "video.mp4", wrong, size)
    assert names(tmp_path) == []


def test_no_frames_are_no_video(tmp_path, frames, size):
    with pytest.raises(StageFailedError):
        encode(tmp_path / "video.mp4", frames[:0], size)
    assert names(tmp_path) == []


def write_segments(folder, frames, size, first_segment=0, metadata=METADATA):
    with SegmentedEncoder(
        folder, frames_per_segment=8, first_segment=first_segment, **size, metadata=metadata
    ) as encoder:
        for start in range(8 * first_segment, len(frames), 3):
            encoder.put(frames[start : start + 3])


def test_an_interrupted_video_has_the_same_frames_as_an_uninterrupted_one(tmp_path, frames, size):
    frames = frames[:37]
    write_segments(tmp_path / "whole", frames, size)

    def crash():
        with SegmentedEncoder(tmp_path / "parts", frames_per_segment=8, **size, metadata=METADATA) as encoder:
            encoder.put(frames[:21])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()
    finished = finished_segments(tmp_path / "parts", 8, METADATA)
    assert names(tmp_path / "parts") == ["00000.mp4", "00000.sha256", "00001.mp4", "00001.sha256"]
    assert len(finished) == 2
    write_segments(tmp_path / "parts", frames, size, first_segment=2)
    for name in ("whole", "parts"):
        concatenate(sorted((tmp_path / name).glob("*.mp4")), tmp_path / f"{name}.mp4", metadata=METADATA)
    whole, parts = (np.stack(list(read_frames(tmp_path / f"{name}.mp4"))) for name in ("whole", "parts"))
    assert np.array_equal(whole, parts)
    info = probe(tmp_path / "parts.mp4")
    assert (info.num_frames, info.fps, info.metadata) == (37, 16, METADATA)
    each = np.concatenate([np.stack(list(read_frames(path))) for path in sorted((tmp_path / "parts").glob("*.mp4"))])
    assert np.array_equal(each, parts)


def test_an_ffmpeg_of_the_users_is_found_from_every_folder(tmp_path, monkeypatch):
    (tmp_path / "my_ffmpeg").symlink_to(ffmpeg_binary())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "./my_ffmpeg")
    assert ffmpeg_binary() == str(tmp_path / "my_ffmpeg")


@pytest.mark.parametrize("name", ["line\nbreak", "it's: 100% #1?", "a b\\c"])
def test_segments_are_joined_in_a_folder_of_any_name(tmp_path, frames, size, name):
    folder = tmp_path / name
    write_segments(folder / "segments", frames[:20], size)
    concatenate(sorted((folder / "segments").glob("*.mp4")), folder / "video.mp4", metadata={})
    assert probe(folder / "video.mp4").num_frames == 20
    assert names(folder) == ["segments", "video.mp4"]
    assert not (folder / "segments" / "segments.txt").exists()


def test_joined_segments_keep_an_even_pace(tmp_path, frames, size):
    write_segments(tmp_path / "segments", frames, size)
    concatenate(sorted((tmp_path / "segments").glob("*.mp4")), tmp_path / "video.mp4", metadata={})
    ffmpeg = VideoEncoder(tmp_path / "x.mp4", **size)._command[0]
    listing = subprocess.run(
        [ffmpeg, "-v", "error", "-i", tmp_path / "video.mp4", "-enc_time_base", "1/16", "-f", "framecrc", "-"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    times = [int(line.split(",")[2]) for line in listing.splitlines() if not line.startswith("#")]
    assert times == list(range(40))


def test_segments_of_another_manifest_or_length_are_not_resumed(tmp_path, frames, size):
    write_segments(tmp_path, frames[:20], size)
    assert len(finished_segments(tmp_path, 8, METADATA)) == 2  # the third is not full
    assert finished_segments(tmp_path, 8, {**METADATA, "manifest_hash": "another"}) == []
    assert finished_segments(tmp_path, 4, METADATA) == []


def test_a_segment_with_a_flipped_bit_or_without_its_digest_is_made_again(tmp_path, frames, size):
    """A bit in the middle of the pictures: ffmpeg counts all its frames and says nothing."""
    write_segments(tmp_path, frames[:24], size)
    segment = tmp_path / "00001.mp4"
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert probe(segment).num_frames == 8
    assert len(finished_segments(tmp_path, 8, METADATA)) == 1
    (tmp_path / "00000.sha256").unlink()
    assert finished_segments(tmp_path, 8, METADATA) == []


def test_a_segment_that_cannot_be_joined_leaves_no_video(tmp_path, frames, size):
    write_segments(tmp_path / "segments", frames, size)
    (tmp_path / "segments" / "00001.mp4").write_bytes(b"not a video")
    # ffmpeg itself skips it and reports success.
    with pytest.raises(HandoffError, match=r"00001\.mp4 is not a whole video"):
        concatenate(sorted((tmp_path / "segments").glob("*.mp4")), tmp_path / "video.mp4", metadata={})
    assert names(tmp_path) == ["segments"]


@pytest.mark.parametrize("exe", ["/bin/false", "/nowhere/ffmpeg"])
def test_an_ffmpeg_that_does_not_answer_is_said_so(monkeypatch, exe):
    """As when it is killed while it is asked what it can; found by the kill matrix."""
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", exe)
    usable_codecs.cache_clear()
    with pytest.raises(StageFailedError, match="ffmpeg"):
        check_codec("libx264")


def test_a_damaged_video_is_not_read(tmp_path, frames, size):
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    with pytest.raises(HandoffError, match="not a whole video"):
        probe(tmp_path / "bad.mp4")


def test_kill_9_of_the_whole_process_leaves_no_video_under_its_name(tmp_path, size):
    script = (
        "import sys, numpy as np, pathlib\n"
        "from sana_wm.video.encoder import VideoEncoder\n"
        "with VideoEncoder(pathlib.Path(sys.argv[1]), width=96, height=64, fps=16) as encoder:\n"
        "    while True:\n"
        "        encoder.put(np.zeros((3, 64, 96, 3), np.uint8))\n"
        "        print(encoder.num_frames, flush=True)\n"
    )
    path = tmp_path / "video.mp4"
    child = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
    for _ in range(20):
        child.stdout.readline()
    child.kill()
    child.wait()
    child.stdout.close()
    assert not path.exists()
    encode(path, np.zeros((4, 64, 96, 3), np.uint8), size)  # beside what the dead process left
    assert probe(path).num_frames == 4


def test_metadata_longer_than_an_argument_may_be_comes_back_exactly(tmp_path, frames, size):
    """Linux takes 128 KiB for one argument; a prompt of quotes is four times as long in the video's comment."""
    metadata = {
        "manifest": json.dumps({"prompt": "A street. " + '"' * 48_500}),
        "odd": "a=b;c#d\\e\nf\r g: %s [é] \U0001f3a5",
    }
    write_segments(tmp_path / "segments", frames[:20], size, metadata=metadata)
    assert len(finished_segments(tmp_path / "segments", 8, metadata)) == 2
    concatenate(sorted((tmp_path / "segments").glob("*.mp4")), tmp_path / "video.mp4", metadata=metadata)
    assert probe(tmp_path / "video.mp4").metadata == metadata


@pytest.mark.parametrize("count", [1, 4])
def test_encoders_killed_while_they_encode_cost_one_segment_each(tmp_path, frames, size, count):
    write_segments(tmp_path / "whole", frames, size)

    def encode_and_kill():
        done = len(finished_segments(tmp_path / "parts", 8, METADATA))
        with SegmentedEncoder(
            tmp_path / "parts", frames_per_segment=8, first_segment=done, **size, metadata=METADATA
        ) as encoder:
            encoder.put(frames[8 * done : 8 * done + 11])  # a whole segment, and part of the next
            os.kill(own_ffmpeg()[0].pid, signal.SIGKILL)
            encoder.put(frames[8 * done + 11 :])

    for _ in range(count):
        with pytest.raises(StageFailedError, match="killed by SIGKILL after"):
            encode_and_kill()
    done = finished_segments(tmp_path / "parts", 8, METADATA)
    assert len(done) == count
    write_segments(tmp_path / "parts", frames, size, first_segment=len(done))
    whole, parts = (sorted((tmp_path / name).glob("*.mp4")) for name in ("whole", "parts"))
    assert [path.read_bytes() for path in whole] == [path.read_bytes() for path in parts]


def test_what_describes_a_segment_is_vouched_for_with_it(tmp_path, frames, size):
    options = {"frames_per_segment": 8, **size, "metadata": METADATA}
    with SegmentedEncoder(tmp_path, describe=lambda number: f"segment {number}".encode(), **options) as encoder:
        encoder.put(frames[:24])
    assert [companion_path(tmp_path / f"0000{number}.mp4").read_bytes() for number in (0, 1, 2)] == [
        b"segment 0",
        b"segment 1",
        b"segment 2",
    ]
    assert len(finished_segments(tmp_path, 8, METADATA, described=True)) == 3
    companion_path(tmp_path / "00001.mp4").write_bytes(b"another")
    assert len(finished_segments(tmp_path, 8, METADATA, described=True)) == 1
    write_segments(tmp_path / "bare", frames[:24], size)
    assert finished_segments(tmp_path / "bare", 8, METADATA, described=True) == []
