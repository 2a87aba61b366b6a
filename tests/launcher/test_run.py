"""The launcher against stages that fail in every way we know of; each fake stage is a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sana_wm.errors import (
    HandoffError,
    IncompleteWeightsError,
    InterruptedRunError,
    MemoryCapError,
    MemoryNotReleasedError,
    RunDirectoryBusyError,
    SanaWMError,
    StageFailedError,
    WeightsError,
)
from sana_wm.handoff.receipts import read_receipt
from sana_wm.handoff.run_directory import STAGES, RunDirectory, Stage
from sana_wm.launcher import supervisor
from sana_wm.launcher.decisions import decide
from sana_wm.launcher.preflight import resolve_manifest
from sana_wm.launcher.progress import StageProgress
from sana_wm.launcher.run import execute, owning, prepare
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.model import RunManifest

FAKES = Path(__file__).parent / "fake_stages"
CAP_GIB = 0.2


class SilentView:
    """Remembers which stages it was told of."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.phases: set[str] = set()
        self.asked_to_stop: list[str] = []
        self.asked_to_shrink: list[str] = []

    def stage_started(self, progress: StageProgress) -> None:
        self.started.append(progress.stage)

    def updated(self, progress: StageProgress) -> None:
        self.phases.add(progress.phase)

    def stage_asked_to_stop(self, progress: StageProgress) -> None:
        self.asked_to_stop.append(progress.stage)

    def stage_asked_to_shrink(self, progress: StageProgress, why: str) -> None:
        self.asked_to_shrink.append(why)

    def stage_ended(self, progress: StageProgress, seconds: float) -> None:
        assert seconds >= 0


def fake(**by_stage: str) -> Callable[[Stage, RunDirectory], list[str]]:
    """Every stage is the good fake, except those named."""
    return lambda stage, run: [sys.executable, str(FAKES / f"{by_stage.get(stage, 'good')}.py"), stage, str(run.path)]


@pytest.fixture
def resolved(write_manifest: Callable[..., Path]) -> RunManifest:
    return resolve_manifest(load_manifest(write_manifest(memory__cap_gib=CAP_GIB), {}))


@pytest.fixture
def run(resolved: RunManifest) -> RunDirectory:
    directory = RunDirectory(Path(resolved.output_dir))
    with owning(directory):
        prepare(directory, resolved, force=False)
    return directory


def go(run: RunDirectory, manifest: RunManifest, **by_stage: str) -> SilentView:
    view = SilentView()
    execute(run, manifest, decide(run, manifest, []), environment=os.environ, view=view, command=fake(**by_stage))
    return view


def actions(run: RunDirectory, manifest: RunManifest) -> list[str]:
    return [decision.action for decision in decide(run, manifest, [])]


def assert_resumable(run: RunDirectory, manifest: RunManifest) -> None:
    go(run, manifest)
    assert actions(run, manifest) == ["skip"] * 3


def test_a_good_run_leaves_receipts_and_metrics_and_is_skipped_the_second_time(
    run: RunDirectory, resolved: RunManifest
) -> None:
    assert go(run, resolved).started == list(STAGES)
    metrics = json.loads(run.metrics_file.read_text())
    assert [row["stage"] for row in metrics["stages"]] == list(STAGES)
    receipt = read_receipt(run, "stage1")
    assert receipt is not None
    assert receipt.process is not None
    assert receipt.process.after_exit_processes == 0
    assert go(run, resolved).started == []


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("over_cap", MemoryCapError, "stopped over the memory cap"),
        ("over_cap_in_child", MemoryCapError, "stopped over the memory cap"),
        ("ignores_sigterm", MemoryCapError, "stopped over the memory cap"),
        ("leaves_grandchild", MemoryNotReleasedError, "left processes behind"),
        ("no_receipt", StageFailedError, "ended without a receipt"),
        ("bug", StageFailedError, "exit code 1"),
        ("segfault", StageFailedError, "signal SIGSEGV"),
        ("damaged_weights", WeightsError, "shard 3 is truncated"),
        ("memory_not_released", MemoryNotReleasedError, "left 12 bytes"),
        ("jumps_over_cap", MemoryCapError, r"resume .* --cap-gib 0\.[2-6]"),
        ("lies_about_memory", MemoryCapError, r"in phase starting; got 0\.[2-6]"),
        ("limit_above_cap", MemoryCapError, "its device would give it up to 0.20 GiB"),
        ("keeps_tensor", MemoryNotReleasedError, "left per phase .*'transformer': 536870912"),
        ("reports_nothing", MemoryNotReleasedError, "left per phase {} on mps"),
        ("lies_about_outputs", HandoffError, "left other files than its receipt says"),
    ],
)
def test_a_failing_stage_has_its_exit_code_leaves_nothing_running_and_can_be_resumed(
    run: RunDirectory,
    resolved: RunManifest,
    name: str,
    kind: type[SanaWMError],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "GRACE_S", 1.0)
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with pytest.raises(kind, match=said):
        go(run, resolved, refiner=name)
    assert {process.pid for process in psutil.Process().children(recursive=True)} == before
    assert [
        process for process in psutil.process_iter(["cmdline"]) if str(run.path) in (process.info["cmdline"] or [])
    ] == []
    assert actions(run, resolved)[0] == "skip"
    assert_resumable(run, resolved)


def test_a_stage_close_to_the_cap_is_asked_to_take_less_and_goes_on(run: RunDirectory, resolved: RunManifest) -> None:
    view = go(run, resolved, refiner="grows_until_asked")
    assert [why.endswith("is close to the cap") for why in view.asked_to_shrink] == [True]
    assert actions(run, resolved) == ["skip"] * 3


def test_what_the_governor_saw_is_kept_and_counted(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved, refiner="grows_until_asked")
    lines = [json.loads(line) for line in run.memory_file.read_text().splitlines()]
    seen = [line for line in lines if line["stage"] == "refiner"]
    assert max(line["process_bytes"] for line in seen) > 0.9 * CAP_GIB * 1024**3
    row = json.loads(run.metrics_file.read_text())["stages"][1]
    assert row["stage"] == "refiner"
    assert 0.95 * CAP_GIB * 1024**3 < row["peak_process_bytes"] <= CAP_GIB * 1024**3
    assert row["after_unload_process_bytes"] == 0
    assert all(figure > 0 for figure in row["system_available_bytes_before_and_after"])


def test_a_bug_in_a_stage_is_in_its_log(run: RunDirectory, resolved: RunManifest) -> None:
    with pytest.raises(StageFailedError, match=str(run.log_file("stage1"))):
        go(run, resolved, stage1="bug")
    assert "ZeroDivisionError: a bug in the stage" in run.log_file("stage1").read_text()


def test_asking_once_lets_the_stage_save(run: RunDirectory, resolved: RunManifest) -> None:
    def interrupt_when_running() -> None:
        while not run.events_file("stage1").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt_when_running)
    thread.start()
    with pytest.raises(InterruptedRunError, match=f"sana-wm resume {run.path}") as caught:
        go(run, resolved, stage1="stops_when_asked")
    thread.join()
    assert caught.value.exit_code == 130
    assert (run.checkpoint_folder("stage1") / "saved").read_text() == "yes"
    assert "goes on from its checkpoint" in decide(run, resolved, [])[0].reason


def test_a_stage_notices_within_a_second_that_its_parent_was_killed(run: RunDirectory, resolved: RunManifest) -> None:
    script = f"""
import os, sys
from pathlib import Path
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.launcher.process import StageProcess
run = RunDirectory(Path({str(run.path)!r}))
command = [sys.executable, {str(FAKES / "outlives_parent.py")!r}, "stage1", str(run.path)]
StageProcess(command, run, "stage1", os.environ)
sys.stdin.read()
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    while not run.events_file("stage1").exists():
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while not (run.path / "parent_is_gone").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_directory_in_use_is_refused_with_its_owner(run: RunDirectory) -> None:
    with (
        owning(run),
        pytest.raises(RunDirectoryBusyError, match=f"pid {os.getpid()} on ") as caught,
        owning(RunDirectory(run.path)),
    ):
        pass
    assert caught.value.exit_code == 9


def test_another_manifest_is_refused_and_force_deletes_only_what_changes(
    run: RunDirectory, resolved: RunManifest, write_manifest: Callable[..., Path]
) -> None:
    go(run, resolved)
    other = resolve_manifest(load_manifest(write_manifest(refiner__seed=7), {}))
    with pytest.raises(HandoffError, match=r"refiner\.seed: 42 -> 7") as caught:
        prepare(run, other, force=False)
    assert caught.value.exit_code == 4
    assert actions(run, resolved) == ["skip"] * 3
    deleted = prepare(run, other, force=True)
    assert run.refined_file in deleted
    assert run.video_file in deleted
    assert run.stage1_file not in deleted
    assert actions(run, other) == ["skip", "run", "run"]


def test_force_takes_over_a_directory_whose_manifest_is_damaged(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    run.manifest_file.write_text("{")
    with pytest.raises(HandoffError, match="is damaged"):
        prepare(run, resolved, force=False)
    prepare(run, resolved, force=True)
    assert actions(run, resolved) == ["run"] * 3


def test_other_weights_are_a_reason_to_run_and_absent_ones_are_not(run: RunDirectory, resolved: RunManifest) -> None:
    from sana_wm.handoff.receipts import WeightFile, write_receipt

    go(run, resolved)
    receipt = read_receipt(run, "stage1")
    assert receipt is not None
    file = WeightFile(component="transformer", file="dit.safetensors", size_bytes=5, identity_sha256="a")
    write_receipt(run, receipt.model_copy(update={"weights": (file,)}))
    assert actions(run, resolved)[0] == "skip"
    assert decide(run, resolved, [file])[0].action == "skip"
    other = decide(run, resolved, [file.model_copy(update={"identity_sha256": "b"})])[0]
    assert (other.action, other.reason) == ("run", "weights changed: transformer (dit.safetensors)")


def test_missing_weights_are_said_before_anything_is_touched(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    moved = resolved.model_copy(update={"model": resolved.model.model_copy(update={"root": str(run.path / "nowhere")})})
    before = run.receipt_file("refiner").read_bytes()
    decisions = decide(run, moved, [], "refiner")
    with pytest.raises(IncompleteWeightsError) as caught:
        execute(run, moved, decisions, environment=os.environ, view=SilentView(), start_over=True, command=fake())
    assert caught.value.exit_code == 3
    assert run.receipt_file("refiner").read_bytes() == before
    assert run.refined_file.exists()


def test_a_stage_that_outlives_its_parent_keeps_the_directory(run: RunDirectory, resolved: RunManifest) -> None:
    """The lock is the stage's, too: whoever resumes at once finds the directory in use."""
    script = f"""
import os, sys
from pathlib import Path
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.launcher.process import StageProcess
from sana_wm.launcher.run import owning
run = RunDirectory(Path({str(run.path)!r}))
with owning(run) as lock:
    command = [sys.executable, {str(FAKES / "stops_when_asked.py")!r}, "stage1", str(run.path)]
    StageProcess(command, run, "stage1", os.environ, lock)
    sys.stdin.read()
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    while not run.events_file("stage1").exists():
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    with pytest.raises(RunDirectoryBusyError), owning(run):
        pass
    orphans = [
        process for process in psutil.process_iter(["cmdline"]) if str(run.path) in (process.info["cmdline"] or [])
    ]
    assert len(orphans) == 1
    orphans[0].terminate()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with owning(run):
                return
        except RunDirectoryBusyError:
            time.sleep(0.05)
    pytest.fail("the directory stays in use after its stage is gone")


def test_asking_twice_ends_the_stage_at_once(run: RunDirectory, resolved: RunManifest) -> None:
    def interrupt_twice() -> None:
        while not run.events_file("stage1").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.6)
        os.kill(os.getpid(), signal.SIGHUP)

    thread = threading.Thread(target=interrupt_twice)
    thread.start()
    with pytest.raises(InterruptedRunError, match="was ended at once; its last checkpoint stays"):
        go(run, resolved, stage1="deaf")
    thread.join()


def test_signals_that_are_ignored_stay_ignored(run: RunDirectory, resolved: RunManifest) -> None:
    """`nohup` ignores SIGHUP before it starts us."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stops = supervisor.StopRequests()
        with stops.listening():
            os.kill(os.getpid(), signal.SIGHUP)
        assert stops.count == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_folder_that_is_no_run_directory_is_left_alone(resolved: RunManifest) -> None:
    directory = RunDirectory(Path(resolved.output_dir))
    directory.path.mkdir()
    (directory.path / "thesis.txt").write_text("precious")
    with pytest.raises(HandoffError, match=r"thesis\.txt"):
        prepare(directory, resolved, force=True)
    assert (directory.path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("damage", "expected", "said"),
    [
        (lambda run: run.stage1_file.unlink(), ["run", "run", "run"], "latents/stage1.safetensors is missing"),
        (lambda run: run.stage1_file.write_text("x"), ["run", "run", "run"], "its receipt says"),
        (
            lambda run: run.refined_file.write_text(run.refined_file.read_text().swapcase()),
            ["skip", "run", "run"],
            "SHA-256 differs",
        ),
        (lambda run: run.receipt_file("vae_decode").unlink(), ["skip", "skip", "run"], "not done yet"),
        (lambda run: run.receipt_file("refiner").write_text("{"), ["skip", "run", "run"], "is damaged"),
    ],
)
def test_resume_trusts_only_what_matches_its_receipt(
    run: RunDirectory,
    resolved: RunManifest,
    damage: Callable[[RunDirectory], object],
    expected: list[str],
    said: str,
) -> None:
    go(run, resolved)
    damage(run)
    decisions = decide(run, resolved, [])
    assert [decision.action for decision in decisions] == expected
    assert any(said in decision.reason for decision in decisions)


def test_a_stage_can_be_started_over_by_name(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    assert [one.action for one in decide(run, resolved, [], "refiner")] == ["skip", "run", "run"]
