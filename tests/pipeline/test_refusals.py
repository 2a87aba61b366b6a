"""What the system refuses: space, writing, the volume itself, open files, a second owner. Clear errors, no loss."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import pytest

from sana_wm.names import Stage
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify

SanaWM = Callable[..., tuple[int, str, str]]
FAULTS = Path(__file__).parent / "faults"
#: Of the finished run: it has no preview.
STAGES: tuple[Stage, ...] = ("stage1", "refiner", "vae_decode")
MOUNT_BYTES = 48 * 1024**2


def mount(folder: Path, *options: str) -> None:
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user cannot mount: {done.stderr.strip()}")


@pytest.fixture
def volume(tmp_path: Path) -> Generator[Path]:
    """A small volume of its own; Linux, as root."""
    folder = tmp_path / "volume"
    folder.mkdir()
    if sys.platform != "linux":
        pytest.skip("tmpfs is Linux's")
    mount(folder, "-t", "tmpfs", "-o", f"size={MOUNT_BYTES}", "tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


@pytest.fixture
def run(volume: Path, finished_run: Path) -> RunDirectory:
    """A copy of the finished run on that volume."""
    directory = RunDirectory(volume / "run")
    shutil.copytree(finished_run, directory.path)
    return directory


def fill(folder: Path, *, leave_bytes: int = 0) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 65536)
    os.truncate(ballast, ballast.stat().st_size - leave_bytes)
    return ballast


def digests(run: RunDirectory, stages: tuple[Stage, ...]) -> dict[str, str]:
    files = [path for stage in stages for path in (run.receipt_file(stage), *run.outputs(stage))]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def start(*arguments: object, fault: dict[str, object] | None = None) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(FAULTS), *filter(None, [os.getenv("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "SANA_WM_TEST_FAULT": json.dumps(fault)}
    command = [sys.executable, "-m", "sana_wm", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_stage(process: subprocess.Popen[str]) -> psutil.Process:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if found := stages_of(process):
            return found[0]
        time.sleep(0.01)
    raise AssertionError("no stage began")


def stages_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "sana_wm.stages" in child.cmdline()]
    except psutil.Error:
        return []


def assert_mended(run: RunDirectory, undisturbed: Path) -> None:
    process = start("resume", run.path)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert [link for link in verify(run) if link.state != "holds"] == []
    for name in ("stage1_file", "refined_file"):
        assert getattr(run, name).read_bytes() == getattr(RunDirectory(undisturbed), name).read_bytes()


def test_space_is_looked_at_before_a_stage(run: RunDirectory, sana_wm: SanaWM) -> None:
    before = digests(run, ("stage1", "refiner"))
    run.clear_stage("vae_decode")
    fill(run.path.parent, leave_bytes=1024**2)
    code, _, err = sana_wm("resume", run.path)
    assert code == 4
    assert re.search(
        r"too little free space in .* for stage vae_decode; got \d+ bytes; expected \d+ bytes or more", err
    )
    assert digests(run, ("stage1", "refiner")) == before


def test_the_volume_of_the_frames_is_looked_at_too(
    volume: Path, write_manifest: Callable[..., Path], sana_wm: SanaWM
) -> None:
    path = write_manifest(video__frames_dir=str(volume / "frames"))
    assert sana_wm("validate-manifest", path)[0] == 0
    fill(volume, leave_bytes=128 * 1024)
    code, _, err = sana_wm("validate-manifest", path)
    assert code == 2
    # 9 frames of 96x160 pixels, three bytes each at most.
    said = rf"video.frames_dir: too little free space for {volume / 'frames'}; got \d+ bytes; expected 414720 bytes"
    assert re.search(said, err)


def test_frames_that_are_there_need_no_space_again(volume: Path, finished_run: Path) -> None:
    from sana_wm.errors import HandoffError
    from sana_wm.planning.space import check_space

    run = RunDirectory(finished_run)
    manifest = run.read_manifest()
    frames = volume / "frames"
    video = manifest.video.model_copy(update={"frames_dir": str(frames)})
    manifest = manifest.model_copy(update={"video": video})
    frames.mkdir()
    (frames / "00000.png").write_bytes(b"x" * (3 * video.num_frames * video.height * video.width - 64 * 1024))
    fill(volume, leave_bytes=96 * 1024)
    check_space(run, manifest, "vae_decode")
    (frames / "00000.png").rename(frames / "mine.png")
    with pytest.raises(HandoffError, match=f"too little free space in {frames}"):
        check_space(run, manifest, "vae_decode")


def test_a_full_disk_says_how_many_bytes_a_file_needs(volume: Path) -> None:
    import torch

    from sana_wm.errors import HandoffError
    from sana_wm.runtime.latents import save_tensors

    fill(volume, leave_bytes=64 * 1024)
    path = volume / "latents.safetensors"
    said = r"No space left on device; expected 1048576 bytes of free space, where \d+ are"
    with pytest.raises(HandoffError, match=said):
        save_tensors(path, {"latents": torch.zeros(1024, 256)}, {})
    assert not path.exists()
    assert [child.name for child in volume.iterdir()] == ["ballast"]


def test_a_read_only_directory_is_refused(run: RunDirectory, sana_wm: SanaWM) -> None:
    run.clear_stage("vae_decode")
    before = digests(run, ("stage1", "refiner"))
    mount(run.path.parent, "-o", "remount,ro")
    code, _, err = sana_wm("resume", run.path)
    assert (code, "Read-only file system" in err) == (4, True)
    assert digests(run, ("stage1", "refiner")) == before
    manifest = run.path.parents[1] / "manifest.json"
    data = json.loads(run.manifest_file.read_text())
    for key in ("content_sha256", "inputs", "intrinsics_estimate", "picture"):
        del data[key]
    manifest.write_text(json.dumps(data | {"output_dir": str(run.path)}))
    code, _, err = sana_wm("run-pipeline", manifest)
    assert (code, "cannot be written" in err) == (2, True)


def test_too_many_open_files_is_a_clear_error(finished_run: Path, tmp_path: Path, sana_wm: SanaWM) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished_run, run.path)
    sana_wm("verify", run.path)  # loads what the command imports
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/dev/fd").iterdir())
    for spare in range(4):
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + spare, hard))
        fillers = []
        try:
            while len(fillers) < 1000:
                fillers.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            for filler in fillers[len(fillers) - spare :]:
                os.close(filler)
        try:
            code, out, err = sana_wm("verify", run.path)
        finally:
            for filler in fillers[: len(fillers) - spare]:
                os.close(filler)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert code in (0, 4, 7), err
        assert code == 0 or "open" in (out + err).lower(), out + err
    assert sana_wm("verify", run.path)[0] == 0


@pytest.mark.long
@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_fills_up_during_a_stage(run: RunDirectory, finished_run: Path, stage: Stage) -> None:
    for later in STAGES[STAGES.index(stage) :]:
        run.clear_stage(later)
        run.start_over(later)
    before = digests(run, STAGES[: STAGES.index(stage)])
    process = start("resume", run.path)
    wait_for_stage(process)
    ballast = fill(run.path.parent)
    _, err = process.communicate()
    assert process.returncode in (4, 7), err
    assert f"too little free space in {run.path} for stage {stage}; got 0 bytes" in err
    assert "Traceback" not in err
    assert digests(run, STAGES[: STAGES.index(stage)]) == before
    ballast.unlink()
    assert_mended(run, finished_run)


@pytest.mark.long
@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.ENOSPC, errno.EMFILE])
@pytest.mark.parametrize("name", ["stage1.safetensors", "refined.safetensors", "00000.mp4", "receipts/vae_decode.json"])
def test_a_write_that_fails_is_named_and_made_up_for(
    finished_run: Path, tmp_path: Path, name: str, number: int
) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished_run, run.path)
    stage: Stage = {"stage1.safetensors": "stage1", "refined.safetensors": "refiner"}.get(name, "vae_decode")
    for later in STAGES[STAGES.index(stage) :]:
        run.clear_stage(later)
    process = start("resume", run.path, fault={"role": "stage", "point": "before fsync", "file": name, "error": number})
    _, err = process.communicate()
    assert process.returncode in (4, 7), err
    assert os.strerror(number) in err
    assert "Traceback" not in err + run.log_file(stage).read_text()
    assert_mended(run, finished_run)


@pytest.mark.long
def test_a_volume_that_vanishes_during_a_stage(run: RunDirectory) -> None:
    run.clear_stage("refiner")
    volume = run.path.parent
    process = start("resume", run.path)
    wait_for_stage(process)
    subprocess.run(["umount", "-l", str(volume)], check=True)
    _, err = process.communicate()
    assert process.returncode == 4, err
    assert "went away while a stage worked in it" in err
    assert "Traceback" not in err
    assert list(volume.iterdir()) == []


@pytest.mark.long
def test_of_twenty_commands_at_once_one_runs(finished_run: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished_run, run.path)
    run.clear_stage("vae_decode")
    processes = [start("resume", run.path) for _ in range(20)]
    held = None
    while sum(process.poll() is None for process in processes) > 1:
        held = held or next((child for one in processes for child in stages_of(one)), None)
        if held is not None:
            held.suspend()  # however slow this machine is, the winner works until the others have asked
        time.sleep(0.05)
    if held is not None:  # else they were all refused before its stage began
        held.resume()
    ended = [(process.communicate()[1], process.returncode) for process in processes]
    assert sorted(code for _, code in ended) == [0] + [9] * 19
    assert all("is in use; got pid " in err for err, code in ended if code == 9)
    assert [link for link in verify(run) if link.state != "holds"] == []
