"""`status` against runs in every state; owners are real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from sana_wm.errors import HandoffError, InterruptedRunError, MemoryCapError, RunDirectoryBusyError
from sana_wm.manifest.loading import parse_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES, Stage
from sana_wm.progress.run_progress import RunProgress
from sana_wm.progress.run_record import RunStart
from sana_wm.progress.status import StatusReader
from sana_wm.runs.decisions import Action, StageDecision
from sana_wm.runs.lock import owning, read_owner
from sana_wm.runs.run_directory import RunDirectory

OWNER = """
import sys, time
from pathlib import Path
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.lock import owning
with owning(RunDirectory(Path(sys.argv[1]))):
    print("owned", flush=True)
    time.sleep(60)
"""
DECISIONS = [
    StageDecision("stage1", "skip", ""),
    StageDecision("refiner", "run", ""),
    StageDecision("vae_decode", "run", ""),
]
EXPECTED: dict[tuple[Stage, str], float] = {("refiner", "transformer"): 100.0, ("vae_decode", "vae_decoder"): 50.0}


@pytest.fixture
def manifest(tmp_path: Path) -> RunManifest:
    return parse_manifest(
        {
            "version": 1,
            "name": "watched",
            "model": {"layout": "diffusers", "root": "/weights"},
            "input": {"image": "/picture.png", "prompt": "A quiet road."},
            "camera": {"action": "w-56", "intrinsics": [160.0, 160.0, 100.0, 60.0]},
            "video": {"num_frames": 57, "height": 96, "width": 160},
            "memory": {"cap_gib": 2.0},
            "output_dir": str(tmp_path / "run"),
            "inputs": {},
        },
        RunManifest,
    )


@pytest.fixture
def run(manifest: RunManifest) -> RunDirectory:
    directory = RunDirectory(Path(manifest.output_dir))
    directory.path.mkdir()
    directory.write_manifest(manifest)
    return directory


@pytest.fixture
def owner(run: RunDirectory) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "owned\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def emit(run: RunDirectory, stage: Stage, event: str, **fields: Any) -> None:
    path = run.events_file(stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"time_s": time.time(), "event": event, **fields}) + "\n")


def finish(run: RunDirectory, stage: Stage) -> None:
    emit(run, stage, "done")
    run.receipt_file(stage).parent.mkdir(exist_ok=True)
    run.receipt_file(stage).write_text("{}")


def begin(run: RunDirectory) -> None:
    RunStart.of(DECISIONS, EXPECTED, time.time()).write(run)


def states(run: RunDirectory) -> list[str]:
    return [one.state for one in StatusReader(run).look().stages]


def test_a_running_run_is_followed_from_stage_to_stage(run: RunDirectory, owner: subprocess.Popen[str]) -> None:
    emit(run, "refiner", "phase_start", phase="transformer")  # of an earlier start
    time.sleep(0.01)
    begin(run)
    reader = StatusReader(run)
    first = reader.look()
    assert (first.state, first.stage, first.phase) == ("running", "refiner", "starting")
    assert [one.state for one in first.stages] == ["skipped", "running", "to come"]
    assert first.remaining_s == pytest.approx(150.0, abs=5.0)
    run.events_file("refiner").unlink()
    emit(run, "refiner", "phase_start", phase="transformer")
    emit(run, "refiner", "step", step=2, total=8)
    with run.memory_file.open("w") as file:
        file.write(json.dumps({"time_s": 1.0, "stage": "refiner", "process_bytes": 2**30, "device_bytes": None}) + "\n")
    second = reader.look()
    assert (second.phase, second.step, second.total) == ("transformer", 2, 8)
    assert (second.memory.used_bytes, second.memory.device_bytes, second.memory.cap_bytes) == (2**30, None, 2**31)
    finish(run, "refiner")
    third = reader.look()
    assert (third.stage, third.phase) == ("vae_decode", "starting")
    assert third.memory.used_bytes is None  # the last figure is of the stage before
    finish(run, "vae_decode")
    assert [one.state for one in reader.look().stages] == ["skipped", "done", "done"]


def owner_lives(run: RunDirectory) -> bool:
    owner = read_owner(run)
    return owner is not None and owner.lives()


def test_a_run_whose_owner_was_killed_is_stopped(run: RunDirectory, owner: subprocess.Popen[str]) -> None:
    begin(run)
    emit(run, "refiner", "phase_start", phase="transformer")
    assert owner_lives(run)
    owner.kill()
    owner.wait()
    look = StatusReader(run).look()
    assert (look.state, look.stage, look.phase) == ("stopped", "refiner", "transformer")
    assert [one.state for one in look.stages] == ["skipped", "stopped", "to come"]
    assert look.remaining_s is None


def test_a_process_that_only_has_the_owners_number_is_not_the_owner(
    run: RunDirectory, owner: subprocess.Popen[str]
) -> None:
    record = json.loads(run.lock_file.read_text())
    assert owner_lives(run)
    run.lock_file.write_text(json.dumps({**record, "since": "2001-01-01T00:00:00+00:00"}))
    assert not owner_lives(run)
    run.lock_file.write_text(json.dumps({**record, "machine": "another.example"}))
    assert not owner_lives(run)
    run.lock_file.write_text("half a rec")
    assert not owner_lives(run)


def test_a_run_on_another_machine_runs_as_long_as_it_is_heard_of(
    run: RunDirectory, owner: subprocess.Popen[str]
) -> None:
    begin(run)
    emit(run, "refiner", "phase_start", phase="transformer")
    record = json.loads(run.lock_file.read_text())
    run.lock_file.write_text(json.dumps({**record, "machine": "another", "host": "far.example"}))
    assert StatusReader(run).look().state == "running"
    later = StatusReader(run, clock=lambda: time.time() + 3600).look()
    assert later.state == "stopped"
    assert later.note is not None
    assert "far.example" in later.note
    assert "only that one can say" in later.note


def test_a_clock_that_was_set_back_makes_no_negative_times(run: RunDirectory, owner: subprocess.Popen[str]) -> None:
    begin(run)
    emit(run, "refiner", "phase_start", phase="transformer")
    look = StatusReader(run, clock=lambda: time.time() - 3600).look()
    assert look.state == "running"
    assert (look.elapsed_s, look.stages[1].seconds) == (0, pytest.approx(0, abs=60))
    assert look.remaining_s is not None
    assert look.remaining_s >= 0


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (None, "finished", None),
        (MemoryCapError("stopped over the cap"), "failed", 5),
        (InterruptedRunError("saved"), "interrupted", 130),
    ],
)
def test_how_a_run_ended_is_kept_for_those_who_look_later(
    run: RunDirectory, manifest: RunManifest, error: Exception | None, state: str, code: int | None
) -> None:
    start = RunStart.of(DECISIONS, {}, time.time())

    def go() -> None:
        with RunProgress(run, manifest, start).reporting():
            if error is not None:
                raise error

    if error is None:
        go()
    else:
        with pytest.raises(type(error)):
            go()
    look = StatusReader(run).look()
    assert look.state == state
    assert (look.error.exit_code if look.error else None) == code
    assert (look.video is not None) == (state == "finished")
    start.write(run)  # the next start takes the end away
    assert StatusReader(run).look().state == "stopped"


def test_a_start_that_finds_everything_done_leaves_the_times_of_the_one_that_did_it(run: RunDirectory) -> None:
    manifest = run.read_manifest()
    done = RunStart(started_at_s=1000.0, actions={"stage1": "run", "refiner": "off", "vae_decode": "run"})
    with RunProgress(run, manifest, done, clock=lambda: 1060.0).reporting():
        pass
    again = RunStart(started_at_s=2000.0, actions={"stage1": "skip", "refiner": "off", "vae_decode": "skip"})
    with RunProgress(run, manifest, again).reporting():
        pass
    snapshot = StatusReader(run).look()
    assert (snapshot.state, snapshot.elapsed_s) == ("finished", 60.0)


def test_the_command_to_go_on_is_for_where_the_run_lies_now(run: RunDirectory, manifest: RunManifest) -> None:
    start = RunStart.of(DECISIONS, {}, time.time())
    stopped = InterruptedRunError("stopped", next_step=f"Go on with: {run.resume_command}")
    with pytest.raises(InterruptedRunError), RunProgress(run, manifest, start).reporting():
        raise stopped
    moved = RunDirectory(run.path.rename(run.path.with_name("moved elsewhere")))
    error = StatusReader(moved).look().error
    assert error is not None
    assert error.message == f"stopped. Go on with: {moved.resume_command}"


def test_an_error_that_only_the_stage_could_leave_is_shown(run: RunDirectory) -> None:
    begin(run)
    emit(run, "refiner", "error", message="shard 3 is truncated", exit_code=3)
    look = StatusReader(run).look()
    assert look.state == "failed"
    assert look.error is not None
    assert (look.error.message, look.error.exit_code) == ("shard 3 is truncated", 3)


def test_a_run_that_has_not_said_what_it_means_to_do_is_read_by_its_receipts(run: RunDirectory) -> None:
    for stage in STAGES:
        finish(run, stage)
    look = StatusReader(run).look()
    assert look.state == "finished"
    assert [one.state for one in look.stages] == ["done"] * len(STAGES)


def test_a_folder_that_is_no_run_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HandoffError, match="is not a run directory"):
        StatusReader(RunDirectory(tmp_path))


def test_status_takes_no_lock_and_loads_no_torch(run: RunDirectory, owner: subprocess.Popen[str]) -> None:
    begin(run)
    before = run.lock_file.read_bytes()
    question = (
        "import sys; sys.argv = ['sana-wm', 'status', sys.argv[1], '--json']; import sana_wm.cli\n"
        "try: sana_wm.cli.main()\n"
        "finally: assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", question, str(run.path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "running"
    assert run.lock_file.read_bytes() == before


def test_watching_ends_with_the_run(
    run: RunDirectory, owner: subprocess.Popen[str], sana_wm: Callable[..., tuple[int, str, str]]
) -> None:
    begin(run)
    watcher = subprocess.Popen(
        [sys.executable, "-m", "sana_wm", "status", str(run.path), "--watch", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    assert json.loads(watcher.stdout.readline())["state"] == "running"
    owner.kill()
    owner.wait()
    out, _ = watcher.communicate(timeout=30)
    assert json.loads(out.splitlines()[-1])["state"] == "stopped"
    assert watcher.returncode == 0
    code, words, _ = sana_wm("status", run.path)
    assert code == 0
    assert words.startswith("watched: stopped")


def test_status_and_in_use_name_each_other_s_commands(
    run: RunDirectory, owner: subprocess.Popen[str], sana_wm: Callable[..., tuple[int, str, str]]
) -> None:
    begin(run)
    with pytest.raises(RunDirectoryBusyError) as refused, owning(run):
        pass
    assert f"How far it is: sana-wm status {run.path}." in str(refused.value)
    words = sana_wm("status", run.path)[1]
    assert f"in use        by pid {owner.pid} on " in words
    assert f"kill -INT {owner.pid} stops it; then sana-wm resume {run.path} goes on" in words
    owner.kill()
    owner.wait()
    assert sana_wm("status", run.path)[1].endswith(f"next          sana-wm resume {run.path}\n")


def test_status_of_a_run_to_be_looked_at_names_refine(
    run: RunDirectory, sana_wm: Callable[..., tuple[int, str, str]]
) -> None:
    actions: dict[Stage, Action] = {"stage1": "run", "preview": "run", "refiner": "later", "vae_decode": "later"}
    RunStart.of([StageDecision(stage, action, "") for stage, action in actions.items()], EXPECTED, time.time()).write(
        run
    )
    for stage in ("stage1", "preview"):
        finish(run, stage)
    assert sana_wm("status", run.path)[1].endswith(f"next          sana-wm refine {run.path}\n")


def test_status_of_a_finished_run_names_what_can_be_done_with_it(
    run: RunDirectory, sana_wm: Callable[..., tuple[int, str, str]]
) -> None:
    begin(run)
    for stage in ("refiner", "vae_decode"):
        finish(run, stage)
    words = sana_wm("status", run.path)[1]
    assert f"next          sana-wm report {run.path} " in words
    assert f"\n              sana-wm vary {run.path} --seed 43 " in words
