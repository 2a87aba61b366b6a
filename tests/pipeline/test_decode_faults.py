"""The decode and the joining of its segments, disturbed: ffmpeg killed while it encodes, a full disk, a failing one.

Every time nothing is lost that was finished, and the stage goes on to the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.pipeline.streaming_runs import run_stage_here

from sana_wm.errors import HandoffError
from sana_wm.runs.receipts import current_versions
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.video.encoder import ffmpeg_binary
from sana_wm.video.reader import read_frames

FAULTS = Path(__file__).parent / "faults"
REPORT = Path(__file__).parents[2] / "reports" / "encoder-kills.json"
SEED, KILLS = 20261130, 30
ENOSPC, EIO = 28, 5
#: Of writes in the decode's order: a segment, what lies beside it, what vouches for it, the joined video, its pictures.
POINTS = [
    ("before fsync", "00000.mp4"),
    ("after rename", "00000.mp4"),
    ("before write", "00000.npz"),
    ("after write", "00000.sha256"),
    ("before rename", "00001.mp4"),
    ("after write", "00001.npz"),
    ("before fsync", "/video.mp4"),
    ("before folder fsync", "/video.mp4"),
    ("before write", "contact_sheet.png"),
    ("before rename", "contact_sheet.png"),
    ("after write", "receipts/vae_decode.json"),
]


def decode(run: RunDirectory, **environment: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "sana_wm.stages", "vae_decode", str(run.path)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> RunDirectory:
    """A run whose decode is still to come."""
    copy = RunDirectory(Path(shutil.copytree(finished_run, tmp_path / "run")))
    copy.clear_stage("vae_decode")
    return copy


def kept(run: RunDirectory) -> dict[str, bytes]:
    """The segments that are vouched for."""
    folder = run.checkpoint_folder("vae_decode")
    return {
        path.stem: path.with_suffix(".mp4").read_bytes() for path in folder.glob("*.sha256") if ".part" not in path.name
    }


def assert_goes_on(run: RunDirectory, finished_run: Path) -> None:
    before = kept(run)
    run_stage_here(run, "vae_decode")
    assert run.video_file.read_bytes() == RunDirectory(finished_run).video_file.read_bytes()
    assert not run.growing_file.exists()
    first = json.loads(run.events_file("vae_decode").read_text().splitlines()[-1])
    assert first["event"] == "done"
    whole = [name for name in sorted(before) if name == "00000"]  # the second is not full, and made anew
    steps = [json.loads(line) for line in run.events_file("vae_decode").read_text().splitlines()]
    begun = next((event["step"] for event in steps if event["event"] == "step"), 0)
    assert begun > 32 * len(whole), "a finished segment was made again"


def fail_at(run: RunDirectory, point: str, file: str, error: int) -> None:
    fault = {"role": "stage", "point": point, "file": file, "error": error}
    code, err = decode(run, SANA_WM_TEST_FAULT=json.dumps(fault), PYTHONPATH=str(FAULTS))
    assert code in (4, 7), err
    assert os.strerror(error) in err
    assert not run.receipt_file("vae_decode").exists()


def test_what_is_finished_can_be_watched_while_the_rest_is_made(run: RunDirectory, finished_run: Path) -> None:
    """Opened again and again while a stage decodes; a stage that fails leaves it, and the next one goes on with it."""
    fail_at(run, *POINTS[4], ENOSPC)
    assert len(list(read_frames(run.growing_file))) == 32
    assert not run.video_file.exists()
    whole = len(list(read_frames(RunDirectory(finished_run).video_file)))
    stage = subprocess.Popen([sys.executable, "-m", "sana_wm.stages", "vae_decode", str(run.path)])
    seen: set[int] = set()
    while stage.poll() is None:
        with contextlib.suppress(HandoffError):  # it went away between two looks
            seen.add(len(list(read_frames(run.growing_file))))
    assert stage.returncode == 0
    assert 32 in seen
    assert seen <= {32, whole}
    assert not run.growing_file.exists()
    assert run.video_file.read_bytes() == RunDirectory(finished_run).video_file.read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("error", [ENOSPC, EIO])
@pytest.mark.parametrize(("point", "file"), POINTS, ids=lambda value: value.strip("/"))
def test_a_failing_disk_costs_one_piece(
    run: RunDirectory, finished_run: Path, point: str, file: str, error: int
) -> None:
    fail_at(run, point, file, error)
    assert_goes_on(run, finished_run)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("part", ["concat", pytest.param("rawvideo", marks=pytest.mark.long)])
def test_ffmpeg_itself_finds_the_disk_full(run: RunDirectory, finished_run: Path, tmp_path: Path, part: str) -> None:
    """The joining, or the encoding: the last argument becomes a device without room."""
    script = tmp_path / "ffmpeg"
    full = f'exec {ffmpeg_binary()} "${{@:1:$#-1}}" -f mp4 /dev/full'
    script.write_text(f"""#!/bin/bash
case " $* " in *' {part} '*.mp4*) {full};; esac
exec {ffmpeg_binary()} "$@"
""")
    script.chmod(0o755)
    code, err = decode(run, IMAGEIO_FFMPEG_EXE=str(script))
    assert code == 7
    assert "No space left on device" in err
    assert_goes_on(run, finished_run)


def kill_while_it_encodes(run: RunDirectory, delay_s: float) -> str | None:
    """Start the decode, kill its encoder; what the stage said of it, `None` when the encoder had ended by itself."""
    command = [sys.executable, "-m", "sana_wm.stages", "vae_decode", str(run.path)]
    stage = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    watched = psutil.Process(stage.pid)
    while stage.poll() is None:
        encoders = [one for one in children(watched) if "rawvideo" in arguments(one)]
        if encoders:
            time.sleep(delay_s)
            with contextlib.suppress(psutil.NoSuchProcess):
                encoders[0].kill()
            break
        time.sleep(0.002)
    _, err = stage.communicate()
    assert "Traceback" not in err, err
    if stage.returncode == 0:
        return None
    assert stage.returncode == 7, err
    return err if "killed by SIGKILL" in err else None


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.Error:
        return []


def arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.Error:
        return []


def test_an_encoder_killed_while_it_encodes_costs_one_segment(run: RunDirectory, finished_run: Path) -> None:
    assert kill_while_it_encodes(run, 0.0) is not None
    assert_goes_on(run, finished_run)


@pytest.mark.long
def test_thirty_encoders_killed_while_they_encode(run: RunDirectory, finished_run: Path) -> None:
    """Each seen by its exit. Between two kills the stage sometimes ends well, and starts over."""
    dice, exits, compared = random.Random(SEED), [], 1
    expected: Any = RunDirectory(finished_run).video_file.read_bytes()
    began_s = time.monotonic()
    while exits.count("killed") < KILLS:
        exits.append("ended by itself" if kill_while_it_encodes(run, dice.uniform(0.0, 0.15)) is None else "killed")
        if run.receipt_file("vae_decode").exists():
            assert run.video_file.read_bytes() == expected
            compared += 1
            run.clear_stage("vae_decode")
    code, err = decode(run)
    assert code == 0, err
    assert run.video_file.read_bytes() == expected
    report = {
        "what": "the encoder of one decode killed again and again, seen by its exit; in the end the same bytes",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"pytest -m long tests/pipeline/{Path(__file__).name} -k thirty",
        "machine": platform.platform(),
        "versions": current_versions(),
        "seed": SEED,
        "starts": dict(Counter(exits)),
        "videos_compared": compared,
        "seconds": round(time.monotonic() - began_s),
    }
    REPORT.write_text(json.dumps(report, indent=1) + "\n")
