"""`runs rm`: only what this package made goes, only after a yes, and never from under somebody."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sana_wm.durable import remove_file
from sana_wm.queue.folder import Queue
from sana_wm.queue.job import Expectation, JobOptions
from sana_wm.runs.lock import owning
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify

SanaWM = Callable[..., tuple[int, str, str]]
CopyRun = Callable[..., Path]


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_what_goes_is_named_and_all_of_it_goes(runs: Path, copy_run: CopyRun, sana_wm: SanaWM) -> None:
    run, other = copy_run("run"), copy_run("other")
    (run / "checkpoints" / "stage1").mkdir(parents=True, exist_ok=True)
    (run / "checkpoints" / "stage1" / "00002.safetensors").write_bytes(b"x")
    (run / "frames").mkdir()
    (run / ".DS_Store").write_bytes(b"x")
    run.with_name("run.json").write_text("{}")
    before = contents(other)
    code, out, err = sana_wm("runs", "rm", run, "--yes")
    assert code == 0, err
    assert "finished, 3.5 s" in out
    assert "video.mp4" in out
    assert f"stays beside it: {runs / 'run.json'}" in out
    assert "checkpoints/stage1/00002.safetensors" in out
    assert list(run.iterdir()) == [run / "frames"]  # nobody here made it
    assert contents(other) == before


def test_a_run_leaves_nothing_behind(runs: Path, copy_run: CopyRun, sana_wm: SanaWM) -> None:
    copy_run("one")
    copy_run("two")
    code, out, err = sana_wm("runs", "rm", runs / "one", runs / "two", "--yes", "--json")
    assert code == 0, err
    assert json.loads(out)["removed"] == [str(runs / "one"), str(runs / "two")]
    assert list(runs.iterdir()) == []


def test_files_that_nobody_here_made_stay_and_are_said(runs: Path, copy_run: CopyRun, sana_wm: SanaWM) -> None:
    run = copy_run("run")
    kept = ["notes.txt", "latents/mine.npy", "video-cut.mp4", "events/deeper/log.txt", "previews/best.png"]
    for name in kept:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("mine")
    code, out, err = sana_wm("runs", "rm", run, "--yes")
    assert code == 0, err
    assert sorted(contents(run)) == sorted(kept)
    assert all(f"stays, not ours: {name}" in out for name in kept)
    assert "removed, but for 5 that nobody here made" in out


@pytest.mark.parametrize("content", ["not even JSON", '{"name": "an app"}'])
def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path, sana_wm: SanaWM, content: str) -> None:
    for name in ("manifest.json", "video.mp4", "receipts/stage1.json"):
        (tmp_path / "app" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "app" / name).write_text(content)
    before = contents(tmp_path)
    for command in ("rm", "prune"):
        code, _, err = sana_wm("runs", command, tmp_path / "app", "--yes")
        assert code == 4
        assert "is not a run directory" in err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["video.mp4", "latents", "events/start.json"])
def test_no_link_is_followed(runs: Path, copy_run: CopyRun, sana_wm: SanaWM, name: str) -> None:
    run, target = copy_run("run"), copy_run("target")
    before = contents(target)
    (run / name).rename(runs / "aside")
    (run / name).symlink_to(target / name)
    for command in ("rm", "prune"):
        code, _, err = sana_wm("runs", command, run, "--yes")
        assert code == 4
        assert "is a link" in err
    assert (run / name).is_symlink()
    assert contents(target) == before


def test_a_run_in_use_is_refused_and_so_are_all_with_it(runs: Path, copy_run: CopyRun, sana_wm: SanaWM) -> None:
    idle, busy = copy_run("idle"), copy_run("busy")
    before = contents(runs)
    with owning(RunDirectory(busy)):
        for command in (("rm",), ("prune", "--latents")):
            code, _, err = sana_wm("runs", command[0], busy, *command[1:], "--yes")
            assert code == 9
            assert "is in use" in err
        remove_file(busy / "events" / "end.json")  # as a start does: now it is known before anything goes
        code, _, err = sana_wm("runs", "rm", idle, busy, "--yes")
        assert code == 9
        assert "sana-wm status" in err
    before.pop("busy/events/end.json")
    assert contents(runs) == before


def test_children_and_unfinished_readers_are_named_and_stay_whole(
    runs: Path, copy_run: CopyRun, edit_run_manifest: Callable[..., None], sana_wm: SanaWM
) -> None:
    parent = copy_run("parent")
    child, reader = copy_run("child", parent), copy_run("reader")
    shared = child / "latents" / "stage1.safetensors"
    shared.unlink()
    shared.hardlink_to(parent / "latents" / "stage1.safetensors")
    continues = {"path": str(parent / "latents" / "stage1.safetensors"), "sha256": "0" * 64}
    inputs = json.loads((reader / "manifest.json").read_text())["inputs"]
    edit_run_manifest(reader, inputs=inputs | {"input.continues": continues})
    (reader / "receipts" / "vae_decode.json").unlink()
    code, out, err = sana_wm("runs", "rm", parent, "--yes", "--json")
    assert code == 0, err
    assert f"made from it, and stays whole: {child}" in err
    assert f"is not finished, and cannot go on without: {reader}" in err
    assert json.loads(out)["freed_bytes"] > 0
    assert not parent.exists()
    assert [link.name for link in verify(RunDirectory(child)) if link.state == "broken"] == []


def test_jobs_that_are_to_come_and_name_it_are_named(runs: Path, copy_run: CopyRun, sana_wm: SanaWM) -> None:
    parent, other = copy_run("parent"), copy_run("parent-2")
    queue = Queue(runs / "queue")
    for name, run in (("child", parent), ("stranger", other)):
        text = json.dumps({"name": name, "made_from": {"run": str(run)}})
        with queue.changing():
            queue.new_job(name, str(runs / name), text, Expectation(), JobOptions())
    out = sana_wm("runs", "rm", parent, "--yes")[1]
    assert "job 1 of the queue, waiting, names it: child" in out
    assert "stranger" not in out


def test_nothing_goes_without_a_yes(copy_run: CopyRun, sana_wm: SanaWM) -> None:
    run = copy_run("run")
    before = contents(run)
    code, out, err = sana_wm("runs", "rm", run)
    assert code == 2
    assert "--yes" in err
    assert "video.mp4" in out
    for answer, expected in ((b"n\n", 130), (b"\n", 130), (b"y\n", 0)):
        assert contents(run) == before
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "sana_wm", "runs", "rm", str(run)]
        with subprocess.Popen(command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            os.write(ours, answer)
            assert process.stderr is not None
            said = process.stderr.read().decode()
        os.close(ours)
        os.close(theirs)
        assert process.returncode == expected, said
        assert "Remove 1 run, which frees" in said
    assert not run.exists()


def test_a_removal_that_was_cut_short_can_be_done_again(copy_run: CopyRun, sana_wm: SanaWM) -> None:
    run = copy_run("run")
    for path in sorted(run.rglob("*"), reverse=True):
        if path.name not in ("manifest.json", ".lock"):
            path.rmdir() if path.is_dir() else path.unlink()
    assert sana_wm("runs", "rm", run, "--yes")[0] == 0
    assert not run.exists()


def test_a_run_named_twice_is_refused(copy_run: CopyRun, sana_wm: SanaWM) -> None:
    run = copy_run("run")
    assert sana_wm("runs", "rm", run, run, "--yes")[0] == 2
    assert run.exists()
