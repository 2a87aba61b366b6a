"""Stopping a stage: asked, killed, orphaned, paused; each fake stage is a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from fake_runs import FAKES, SilentView, actions, assert_resumable, fake, go
from sana_wm.errors import (
    HandoffError,
    InterruptedRunError,
    RunDirectoryBusyError,
)
from sana_wm.launcher import power, supervisor
from sana_wm.launcher.power import PowerReading, PowerWatch
from sana_wm.launcher.run import execute
from sana_wm.manifest.limits import PowerSection
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.runs.decisions import decide
from sana_wm.runs.lock import owning
from sana_wm.runs.run_directory import RunDirectory


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
from sana_wm.runs.run_directory import RunDirectory
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


def test_a_stage_that_outlives_its_parent_keeps_the_directory(run: RunDirectory, resolved: RunManifest) -> None:
    """The lock is the stage's, too: whoever resumes at once finds the directory in use."""
    script = f"""
import os, sys
from pathlib import Path
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.launcher.process import StageProcess
from sana_wm.runs.lock import owning
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
