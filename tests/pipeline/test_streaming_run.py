"""The streaming model from its manifest to an MP4, and on from there: the same bits as one long run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tests.pipeline.streaming_runs import run_here, tiny_student, write_streaming_manifest

from sana_wm.runs.receipts import read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify
from sana_wm.video.reader import probe, read_frames

SHORT_FRAMES, LONG_FRAMES = 49, 73


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The `model` section of a tiny student."""
    return tiny_student(tmp_path_factory.mktemp("student") / "weights")


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory, student: dict[str, Any]) -> RunDirectory:
    """Two chunks, with what the last one left."""
    folder = tmp_path_factory.mktemp("streaming") / "short"
    return run_here(write_streaming_manifest(folder, student, SHORT_FRAMES, stage1__keep_state=True))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory, student: dict[str, Any]) -> RunDirectory:
    """Three chunks in one go."""
    folder = tmp_path_factory.mktemp("streaming") / "long"
    return run_here(write_streaming_manifest(folder, student, LONG_FRAMES))


def same_latents(run: RunDirectory, other: RunDirectory) -> bool:
    files = [(one.stage1_file.read_bytes(), one.refined_file.read_bytes()) for one in (run, other)]
    return files[0] == files[1]


def shown(run: RunDirectory) -> list[bytes]:
    return [frame.tobytes() for frame in read_frames(run.video_file)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_goes_on_with_the_bits_of_one_long_run(
    short: RunDirectory, long: RunDirectory, tmp_path: Path, sana_wm: Callable[..., tuple[int, str, str]]
) -> None:
    before = contents(short.path)
    code, _, said = sana_wm("extend", short.path, "--seconds", 1.5, "--out", tmp_path / "longer")
    assert code == 0, said
    longer = RunDirectory(tmp_path / "longer")
    assert same_latents(longer, long)
    assert shown(longer) == shown(long)
    assert probe(longer.video_file).num_frames == LONG_FRAMES - 1
    assert [link for link in verify(longer) if link.state != "holds"] == []
    assert contents(short.path) == before
    receipts = {stage: read_receipt(longer, stage) for stage in ("stage1", "refiner")}
    assert receipts["refiner"] is not None
    assert receipts["refiner"].plan["earlier_blocks"] == 2


def extend_here(run: RunDirectory, out: Path, **asked: Any) -> RunDirectory:
    from sana_wm.drafting.extension import Extension, write_extension

    return run_here(write_extension(run, Extension(out=out, **asked)), ("stage1", "refiner"))


@pytest.mark.parametrize("lost", ["the state", "the state of other weights", "what was refined"])
def test_what_the_earlier_run_lost_is_made_again(
    short: RunDirectory, long: RunDirectory, tmp_path: Path, lost: str
) -> None:
    copy = RunDirectory(tmp_path / "copy")
    shutil.copytree(short.path, copy.path)
    if lost == "the state":
        copy.stage1_state_file.unlink()
    elif lost == "the state of other weights":
        from sana_wm.runtime.latents import save_tensors

        save_tensors(copy.stage1_state_file, load_file(copy.stage1_state_file), {"stage": "stage1", "part": "state"})
    else:
        copy.refined_file.write_bytes(b"damaged")
    longer = extend_here(copy, tmp_path / "longer", action="l-24")
    assert same_latents(longer, long)
