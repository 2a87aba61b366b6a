"""The launcher against stages that fail in every way we know of; each fake stage is a real process."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from sana_wm.backends import DIFFUSERS
from sana_wm.durable import part_path, remove_parts_under
from sana_wm.errors import (
    HandoffError,
    IncompleteWeightsError,
    InterruptedRunError,
    MemoryCapError,
    MemoryNotReleasedError,
    RunDirectoryBusyError,
    SanaWMError,
    StageFailedError,
    UsageError,
    WeightsError,
)
from sana_wm.handoff.chain import require_inputs
from sana_wm.handoff.half_done import Beginning, begin, is_half_done, read_beginning, versions_that_count
from sana_wm.handoff.receipts import (
    OutputFile,
    WeightFile,
    read_receipt,
    settings_digest,
    stage_settings,
    write_receipt,
)
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.launcher import power, supervisor
from sana_wm.launcher.decisions import decide
from sana_wm.launcher.lock import owning
from sana_wm.launcher.power import PowerReading, PowerWatch
from sana_wm.launcher.preflight import resolve_manifest
from sana_wm.launcher.prepare import check_receipts, check_unchanged, prepare
from sana_wm.launcher.progress import StageProgress
from sana_wm.launcher.run import check_start, execute
from sana_wm.launcher.space import check_space
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.model import PowerSection
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES, Stage
from sana_wm.pipeline import PIPELINE

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

    def stage_asked_to_stop(self, progress: StageProgress, why: str | None) -> None:
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


def interrupt_when_running(run: RunDirectory) -> threading.Thread:
    def wait_and_interrupt() -> None:
        while not run.events_file("stage1").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait_and_interrupt)
    thread.start()
    return thread


def test_asking_a_stage_that_does_not_listen_yet_is_an_interruption_too(
    run: RunDirectory, resolved: RunManifest
) -> None:
    """A stage needs seconds to load its libraries; found by the kill matrix."""
    thread = interrupt_when_running(run)
    with pytest.raises(InterruptedRunError, match=f"sana-wm resume {run.path}"):
        go(run, resolved, stage1="still_starting")
    thread.join()
    assert_resumable(run, resolved)


def test_asking_once_lets_the_stage_save(run: RunDirectory, resolved: RunManifest) -> None:
    thread = interrupt_when_running(run)
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


def test_a_run_directory_that_goes_away_stops_its_stage(run: RunDirectory, resolved: RunManifest) -> None:
    """As when the volume that it lies on is taken away; nothing may be written to what is there instead."""
    elsewhere = run.path.with_name("elsewhere")

    def take_away() -> None:
        while not run.events_file("stage1").exists():
            time.sleep(0.02)
        run.path.rename(elsewhere)

    thread = threading.Thread(target=take_away)
    thread.start()
    command = fake(stage1="stops_when_asked")
    with owning(run) as lock, pytest.raises(HandoffError, match="went away while a stage worked in it") as caught:
        execute(
            run,
            resolved,
            decide(run, resolved, []),
            environment=os.environ,
            view=SilentView(),
            command=command,
            lock=lock,
        )
    thread.join()
    assert caught.value.exit_code == 4
    assert not run.path.exists()
    elsewhere.rename(run.path)
    assert_resumable(run, resolved)


def test_of_twenty_processes_at_once_one_owns_the_directory(run: RunDirectory) -> None:
    """Forked, so that all are ready at the same moment; as whole commands in tests/pipeline/test_refusals.py."""
    context = multiprocessing.get_context("fork")
    ready, done = context.Barrier(20), context.Barrier(20)
    codes = context.SimpleQueue()

    def own() -> None:
        ready.wait()
        try:
            with owning(run):
                codes.put(0)
                done.wait()
        except RunDirectoryBusyError as error:
            codes.put(error.exit_code)
            done.wait()

    processes = [context.Process(target=own) for _ in range(20)]
    for process in processes:
        process.start()
    found = sorted(codes.get() for _ in processes)
    for process in processes:
        process.join()
    assert found == [0] + [9] * 19


def test_a_lock_file_that_is_a_link_is_not_followed(run: RunDirectory, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    run.lock_file.unlink()
    run.lock_file.symlink_to(precious)
    with pytest.raises(HandoffError, match="cannot be owned"), owning(run):
        pass
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("name", ["latents", "checkpoints", "receipts", "video.mp4"])
def test_links_out_of_the_directory_are_refused(
    run: RunDirectory, resolved: RunManifest, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (run.path / name).symlink_to(outside)
    with pytest.raises(HandoffError, match="leads out of the run directory") as caught:
        go(run, resolved)
    assert caught.value.exit_code == 4
    with pytest.raises(HandoffError, match="leads out of the run directory"):
        prepare(run, resolved, force=True)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "latents/../../outside", "link"])
def test_a_receipt_cannot_name_a_file_outside(run: RunDirectory, resolved: RunManifest, name: str) -> None:
    go(run, resolved)
    (run.path.parent / "outside").write_text("")
    (run.path / "link").symlink_to("link")  # to itself: not even its end can be found
    receipt = read_receipt(run, "vae_decode")
    assert receipt is not None
    named = OutputFile(sha256=hashlib.sha256(b"").hexdigest(), size_bytes=0)
    write_receipt(run, receipt.model_copy(update={"outputs": receipt.outputs | {name: named}}))
    decision = decide(run, resolved, [])[2]
    assert (decision.action, decision.reason) == ("run", f"{name} is no file inside the run directory")


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


def test_force_takes_over_a_directory_whose_manifest_is_damaged_and_keeps_what_its_receipts_vouch_for(
    run: RunDirectory, resolved: RunManifest, write_manifest: Callable[..., Path]
) -> None:
    go(run, resolved)
    other = resolve_manifest(load_manifest(write_manifest(refiner__seed=7), {}))
    run.manifest_file.write_text("{")
    with pytest.raises(HandoffError, match="is damaged"):
        prepare(run, resolved, force=False)
    prepare(run, resolved, force=True)
    assert actions(run, resolved) == ["skip"] * 3
    run.manifest_file.write_text("{")
    prepare(run, other, force=True)
    assert actions(run, other) == ["skip", "run", "run"]


def test_a_run_does_not_go_on_under_the_manifest_of_another(
    run: RunDirectory, resolved: RunManifest, write_manifest: Callable[..., Path]
) -> None:
    go(run, resolved)
    check_receipts(run, resolved)
    run.write_manifest(resolve_manifest(load_manifest(write_manifest(refiner__seed=7), {})))
    with pytest.raises(HandoffError, match=r"ran under; got refiner\.seed: 42 -> 7") as caught:
        check_receipts(run, run.read_manifest())
    assert caught.value.exit_code == 4


def test_other_versions_are_named_and_keep_what_is_done_unless_results_change_on_purpose(
    run: RunDirectory, resolved: RunManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule of docs/runs.md."""
    go(run, resolved)
    receipt = read_receipt(run, "stage1")
    assert receipt is not None
    write_receipt(run, receipt.model_copy(update={"versions": {"torch": "1.0"}}))
    (kept, *_) = decide(run, resolved, [])
    assert kept.action == "skip"
    assert "kept although versions changed: torch 1.0 -> " in kept.reason
    monkeypatch.setitem(PIPELINE, "stage1", replace(PIPELINE["stage1"], results_version=2))
    (again, *_) = decide(run, resolved, [])
    assert again.action == "run"
    assert "version changed: sana-wm 0 made it" in again.reason


def beginning(manifest: RunManifest, **changes: Any) -> Beginning:
    """How stage 1 would be begun here."""
    return Beginning(
        stage="stage1",
        source_sha256="",
        settings=stage_settings(manifest, "stage1"),
        weights=(WEIGHTS,),
        computed_by=versions_that_count(DIFFUSERS, "stage1") | {"chip": "M1"},
    ).model_copy(update=changes)


WEIGHTS = WeightFile(component="transformer", file="dit.safetensors", size_bytes=5, identity_sha256="a")


@pytest.fixture
def half_done(run: RunDirectory, resolved: RunManifest) -> Path:
    """What stage 1 saved before it was interrupted."""
    begin(run, resolved, beginning(resolved))
    saved = run.checkpoint_folder("stage1") / "00003.safetensors"
    saved.write_text("three steps")
    return saved


def with_seed(manifest: RunManifest, seed: int) -> RunManifest:
    return manifest.model_copy(update={"stage1": manifest.stage1.model_copy(update={"seed": seed})})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"computed_by": versions_that_count(DIFFUSERS, "stage1") | {"chip": "M3"}}, 'chip: "M1" -> "M3"'),
        ({"computed_by": versions_that_count(DIFFUSERS, "stage1") | {"chip": "M1", "torch": "1.0"}}, ' -> "1.0"'),
        ({"weights": (WEIGHTS.model_copy(update={"size_bytes": 6}),)}, "dit.safetensors) is not the file it ran with"),
        ({}, "stage1.seed: 42 -> 7"),
    ],
)
def test_a_half_done_stage_goes_on_with_nothing_but_what_began_it(
    run: RunDirectory, resolved: RunManifest, half_done: Path, changes: dict[str, Any], said: str
) -> None:
    """The rule of docs/runs.md; the stages themselves begin so."""
    begin(run, resolved, beginning(resolved))
    now = resolved if changes else with_seed(resolved, 7)
    with pytest.raises(HandoffError, match="half done, and not by what would go on") as caught:
        begin(run, now, beginning(now, **changes))
    assert said in str(caught.value)
    assert f"{run.resume_command} --from stage1" in str(caught.value)
    assert half_done.exists()
    assert read_beginning(run, "stage1") == beginning(resolved)


def test_a_dry_run_says_that_a_half_done_stage_will_be_refused(
    run: RunDirectory, resolved: RunManifest, half_done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reason(weights: tuple[WeightFile, ...] = (WEIGHTS,)) -> str:
        return decide(run, resolved, weights)[0].reason

    assert reason() == "not finished yet; goes on from its checkpoint"
    assert "is not the file it ran with): refused" in reason((WEIGHTS.model_copy(update={"size_bytes": 6}),))
    monkeypatch.setitem(PIPELINE, "stage1", replace(PIPELINE["stage1"], results_version=2))
    assert reason() == 'half done by others (results_version: "1" -> "2"): refused, unless --from stage1 starts it over'
    monkeypatch.undo()
    run.beginning_file("stage1").write_bytes(b"")
    assert "beginning.json, which says what began it, is damaged or missing): refused" in reason()
    with pytest.raises(HandoffError, match="is damaged or missing"):
        begin(run, resolved, beginning(resolved))
    assert half_done.exists()


def test_a_stage_that_has_done_nothing_yet_binds_nobody(run: RunDirectory, resolved: RunManifest) -> None:
    for chip in ("M1", "M3"):
        here = beginning(resolved, computed_by={"chip": chip})
        begin(run, resolved, here)
        (run.checkpoint_folder("stage1") / ".DS_Store").touch()
        part_path(run.checkpoint_folder("stage1") / "00001.safetensors").touch()
        assert read_beginning(run, "stage1") == here
        assert decide(run, resolved, [])[0].reason == "not done yet"


def test_what_is_half_done_of_another_source_is_of_no_use(
    run: RunDirectory, resolved: RunManifest, half_done: Path
) -> None:
    here = beginning(resolved, source_sha256="other latents")
    begin(run, resolved, here)
    assert not half_done.exists()
    assert read_beginning(run, "stage1") == here


def test_a_setting_that_a_release_adds_changes_no_digest_and_refuses_nothing(
    run: RunDirectory, resolved: RunManifest
) -> None:
    settings = stage_settings(resolved, "refiner")
    older = {name: value for name, value in settings.items() if name != "refiner.sink_size"}
    assert settings_digest(older) == settings_digest(settings)
    assert settings_digest(older) != settings_digest({**settings, "refiner.sink_size": 2})
    begin(run, resolved, beginning(resolved, stage="refiner", settings=older))
    (run.checkpoint_folder("refiner") / "00001.safetensors").touch()
    begin(run, resolved, beginning(resolved, stage="refiner", settings=settings))


def test_a_setting_that_a_later_release_added_counts_as_its_default(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    receipt = read_receipt(run, "refiner")
    assert receipt is not None
    older = {name: value for name, value in receipt.settings.items() if name != "refiner.sink_size"}
    write_receipt(run, receipt.model_copy(update={"settings": older}))
    assert actions(run, resolved)[1] == "skip"
    changed = resolved.model_copy(update={"refiner": resolved.refiner.model_copy(update={"sink_size": 2})})
    assert decide(run, changed, [])[1].reason == "manifest field changed: refiner.sink_size: 1 -> 2"


def test_other_weights_are_a_reason_to_run_and_absent_ones_are_not(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    receipt = read_receipt(run, "stage1")
    assert receipt is not None
    file = WeightFile(component="transformer", file="dit.safetensors", size_bytes=5, identity_sha256="a")
    write_receipt(run, receipt.model_copy(update={"weights": (file,)}))
    assert actions(run, resolved)[0] == "skip"
    assert decide(run, resolved, [file])[0].action == "skip"
    other = decide(run, resolved, [file.model_copy(update={"identity_sha256": "b"})])[0]
    assert (other.action, other.reason) == (
        "run",
        "weights changed: transformer (dit.safetensors) is not the file it ran with",
    )


def test_missing_weights_are_said_before_anything_is_touched(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    moved = resolved.model_copy(update={"model": resolved.model.model_copy(update={"root": str(run.path / "nowhere")})})
    before = run.receipt_file("refiner").read_bytes()
    decisions = decide(run, moved, [], "refiner")
    with pytest.raises(IncompleteWeightsError) as caught:
        execute(run, moved, decisions, environment=os.environ, view=SilentView(), start_from="refiner", command=fake())
    assert caught.value.exit_code == 3
    assert str(caught.value).endswith("run it again with run-pipeline: this run goes on.")
    assert run.receipt_file("refiner").read_bytes() == before
    assert run.refined_file.exists()


def test_work_that_the_system_aborted_is_neither_kept_nor_trusted(run: RunDirectory, resolved: RunManifest) -> None:
    memory = resolved.memory.model_copy(update={"cap_gib": 8.0})  # the real stage loads torch
    resolved = resolved.model_copy(update={"memory": memory})
    run.write_manifest(resolved)
    stage1 = resolved.stage1.model_copy(update={"num_inference_steps": 40, "checkpoint_every": 40})
    resolved = resolved.model_copy(update={"stage1": stage1})
    run.write_manifest(resolved)
    with pytest.raises(StageFailedError, match=r"aborted by the system.*Internal Error \(0000000e") as caught:
        go(run, resolved, stage1="gpu_aborted")
    assert caught.value.exit_code == 7
    assert run.conditioning_file.exists()  # made before
    assert not run.stage1_file.exists()
    assert not is_half_done(run, "stage1")
    assert_resumable(run, resolved)


def test_a_stage_that_outlives_its_parent_keeps_the_directory(run: RunDirectory, resolved: RunManifest) -> None:
    """The lock is the stage's, too: whoever resumes at once finds the directory in use."""
    script = f"""
import os, sys
from pathlib import Path
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.launcher.process import StageProcess
from sana_wm.launcher.lock import owning
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


def test_a_run_pauses_on_a_low_battery_and_goes_on_by_itself(
    run: RunDirectory, resolved: RunManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def charge() -> PowerReading:
        began = run.events_file("stage1").exists() and not (run.path / "paused_once").exists()
        return PowerReading(10.0 if began else 90.0, None)

    monkeypatch.setattr(PowerWatch.__init__, "__kwdefaults__", {"read": charge, "clock": None})
    monkeypatch.setattr(power, "LOOK_EVERY_S", 0.05)
    asking = resolved.model_copy(update={"power": PowerSection(pause_below_battery_percent=50)})
    said: list[str] = []
    execute(
        run,
        asking,
        decide(run, asking, []),
        environment=os.environ,
        view=SilentView(),
        command=fake(stage1="pauses_once"),
        say=said.append,
    )
    assert said == [
        "pausing at the next checkpoint: the battery is at 10 % (power.pause_below_battery_percent 50)",
        "stage1 goes on",
    ]
    assert actions(run, asking) == ["skip"] * 3


def test_asking_twice_ends_the_stage_at_once(run: RunDirectory, resolved: RunManifest) -> None:
    def interrupt_twice() -> None:
        while not run.events_file("stage1").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.6)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt_twice)
    thread.start()
    with pytest.raises(InterruptedRunError, match="was ended at once; its last checkpoint stays"):
        go(run, resolved, stage1="deaf")
    thread.join()


def start_over(run: RunDirectory, manifest: RunManifest, stage: Stage, **by_stage: str) -> None:
    execute(
        run,
        manifest,
        decide(run, manifest, [], stage),
        environment=os.environ,
        view=SilentView(),
        start_from=stage,
        command=fake(**by_stage),
    )


def test_starting_over_touches_nothing_before_it_knows_that_it_can(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    Path(resolved.input.image).unlink()
    with pytest.raises(HandoffError, match=r"input\.image changed since the run began: .*; got no file"):
        start_over(run, resolved, "stage1")
    video = resolved.video.model_copy(update={"codec": "hevc_videotoolbox"})
    with pytest.raises(UsageError, match="hevc_videotoolbox"):
        start_over(run, resolved.model_copy(update={"video": video}), "vae_decode")
    assert actions(run, resolved) == ["skip"] * 3
    assert run.metrics_file.exists()


def test_starting_over_looks_at_the_disk_first_and_counts_no_old_result(
    run: RunDirectory, resolved: RunManifest
) -> None:
    go(run, resolved)
    huge = resolved.video.model_copy(update={"num_frames": 8185, "height": 32_000, "width": 32_000})
    huge_run = resolved.model_copy(update={"video": huge})
    with run.video_file.open("r+b") as file:
        file.truncate(2**42)  # a hole: takes no space, and none will be free until the new video is there
    with pytest.raises(HandoffError, match=r"too little free space in .* for stage vae_decode"):
        check_start(run, huge_run, ["vae_decode"])
    failed = StageFailedError("failed")
    check_space(run, huge_run, "vae_decode", after=failed)  # here the video may be the new one


def test_starting_over_uses_nothing_again_and_leaves_earlier_stages_alone(
    run: RunDirectory, resolved: RunManifest, half_done: Path
) -> None:
    for path in (run.conditioning_file, run.refiner_text_file, run.checkpoint_folder("refiner") / "00001.safetensors"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with pytest.raises(StageFailedError):
        start_over(run, resolved, "refiner", refiner="bug")
    assert half_done.exists()  # Stage 1 went on from it
    assert run.conditioning_file.exists()
    assert not run.refiner_text_file.exists()
    assert not is_half_done(run, "refiner")


def test_what_a_finished_stage_left_behind_is_no_beginning_of_its_next_run(
    run: RunDirectory, resolved: RunManifest, half_done: Path
) -> None:
    """A kill between the receipt and the removal of the checkpoints; later its result is damaged."""
    go(run, resolved)
    half_done.parent.mkdir(parents=True, exist_ok=True)
    half_done.touch()
    run.stage1_file.write_text("damaged")
    with pytest.raises(StageFailedError):
        go(run, resolved, stage1="bug")
    assert not half_done.exists()


def test_an_earlier_result_stays_until_a_new_one_takes_its_place(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    before = run.video_file.read_bytes()
    with pytest.raises(StageFailedError):
        start_over(run, resolved, "vae_decode", vae_decode="bug")
    assert run.video_file.read_bytes() == before
    assert actions(run, resolved) == ["skip", "skip", "run"]


def test_a_poses_file_that_changed_is_not_drawn_over_another_camera_path(
    write_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    poses = tmp_path / "poses.npy"
    np.save(poses, np.tile(np.eye(4), (9, 1, 1)))
    path = write_manifest(camera__poses=str(poses), camera__action=..., video__overlay=True)
    manifest = resolve_manifest(load_manifest(path, {}))
    plain = manifest.model_copy(update={"video": manifest.video.model_copy(update={"overlay": False})})
    for stage in STAGES:
        require_inputs(manifest, stage)
    np.save(poses, np.tile(2 * np.eye(4), (9, 1, 1)))
    for reads, stage in ((manifest, "stage1"), (manifest, "vae_decode"), (plain, "stage1")):
        with pytest.raises(HandoffError, match=r"camera\.poses changed since the run began"):
            require_inputs(reads, stage)
    require_inputs(manifest, "refiner")
    require_inputs(plain, "vae_decode")


def test_a_run_that_another_command_changed_meanwhile_is_left_alone(run: RunDirectory, resolved: RunManifest) -> None:
    check_unchanged(run, resolved)
    other = resolved.model_copy(update={"stage1": resolved.stage1.model_copy(update={"seed": 7})})
    run.write_manifest(other)
    with pytest.raises(HandoffError, match="was changed by another command"):
        check_unchanged(run, resolved)
    go(run, other)
    run.write_manifest(resolved)
    with pytest.raises(HandoffError, match="is not the manifest that stage1"):
        check_unchanged(run, resolved)


def test_resume_looks_again_once_it_owns_the_run(
    run: RunDirectory,
    resolved: RunManifest,
    sana_wm: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = resolved.model_copy(update={"stage1": resolved.stage1.model_copy(update={"seed": 7})})
    # The last step before it takes the lock: another command was as fast.
    monkeypatch.setattr("sana_wm.cli.run._check_numerics", lambda *_: run.write_manifest(other))
    code, _, err = sana_wm("resume", run.path, "--accept-over-cap")
    assert code == 4
    assert "was changed by another command" in err
    assert not run.events_file("stage1").exists()


def test_a_dry_run_refuses_what_the_run_would(
    run: RunDirectory, resolved: RunManifest, sana_wm: Callable[..., tuple[int, str, str]]
) -> None:
    Path(resolved.input.image).unlink()
    code, out, err = sana_wm("resume", run.path, "--dry-run")
    assert code == 4
    assert "not done yet" in out
    assert "input.image changed since the run began" in err


def test_a_run_that_lost_its_manifest_is_taken_over_by_force_alone(run: RunDirectory, resolved: RunManifest) -> None:
    go(run, resolved)
    run.manifest_file.unlink()
    with pytest.raises(HandoffError, match=r"has lost its manifest\.json.*run-pipeline --force"):
        prepare(run, resolved, force=False)
    other = resolved.model_copy(update={"refiner": resolved.refiner.model_copy(update={"seed": 7})})
    deleted = prepare(run, other, force=True)
    assert run.refined_file in deleted
    assert run.stage1_file not in deleted
    assert actions(run, other) == ["skip", "run", "run"]


def test_a_folder_that_libraries_cannot_open_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"x\xff")
    with pytest.raises(HandoffError, match="not UTF-8"), owning(RunDirectory(folder / "run")):
        pass
    assert not folder.exists()


def test_a_folder_that_is_named_like_half_a_file_is_nobodys_leftover(tmp_path: Path) -> None:
    (tmp_path / "my.part.two").mkdir()
    part_path(tmp_path / "video.mp4").touch()
    remove_parts_under(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["my.part.two"]


def test_frames_within_a_run_move_with_it(resolved: RunManifest, tmp_path: Path) -> None:
    def with_frames(folder: Path) -> RunManifest:
        return resolved.model_copy(update={"video": resolved.video.model_copy(update={"frames_dir": str(folder)})})

    inside, outside = with_frames(Path(resolved.output_dir) / "png"), with_frames(tmp_path / "png")
    moved = RunDirectory(tmp_path / "moved")
    assert moved.frames_folder(inside) == tmp_path / "moved" / "png"
    assert moved.frames_folder(outside) == tmp_path / "png"
    assert moved.frames_folder(resolved) is None
    beside = Path(resolved.output_dir) / ".." / "png"
    assert moved.frames_folder(with_frames(beside)) == beside
    elsewhere = inside.model_copy(update={"output_dir": str(moved.path)})
    elsewhere = elsewhere.model_copy(
        update={"video": inside.video.model_copy(update={"frames_dir": str(moved.path / "png")})}
    )
    assert stage_settings(inside, "vae_decode") == stage_settings(elsewhere, "vae_decode")


def test_closing_the_window_of_a_run_that_is_saving_lets_it_save(run: RunDirectory, resolved: RunManifest) -> None:
    """Neither the window nor the same Ctrl-C from a parent is a second wish."""

    def interrupt_and_close() -> None:
        while not run.events_file("stage1").exists():
            time.sleep(0.02)
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
            time.sleep(0.1)
        time.sleep(supervisor.AGAIN_S)
        os.kill(os.getpid(), signal.SIGHUP)

    thread = threading.Thread(target=interrupt_and_close)
    thread.start()
    with pytest.raises(InterruptedRunError, match="stopped in stage stage1, saved"):
        go(run, resolved, stage1="saves_slowly")
    thread.join()
    assert (run.checkpoint_folder("stage1") / "saved").read_text() == "yes"


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


def test_a_directory_with_nothing_but_a_half_written_manifest_is_taken(resolved: RunManifest) -> None:
    """What a kill during the first write leaves; found by the kill matrix."""
    directory = RunDirectory(Path(resolved.output_dir))
    part = part_path(directory.manifest_file)
    part.parent.mkdir()
    part.write_text("{")
    with owning(directory):
        prepare(directory, resolved, force=False)
    assert directory.read_manifest() == resolved


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
