"""The governor's rule, by cases and by what must hold for all; the probes that feed it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_wm.launcher import memory_watch
from sana_wm.launcher.governor import MemoryLimits, judge
from sana_wm.launcher.memory_watch import MemoryLog, MemoryWatch
from sana_wm.launcher.probes.cards import cards_used_bytes
from sana_wm.launcher.probes.process import exact_process_bytes, group_bytes, process_bytes
from sana_wm.launcher.probes.system import SystemMemory, _linux_pressure, read_system_memory
from sana_wm.progress.memory import MemorySample
from sana_wm.sizes import GIB

LIMITS = MemoryLimits(cap_bytes=100 * GIB)
NOTHING_SEEN = MemorySample(None, None)

sizes = st.none() | st.integers(0, 2**50)
samples = st.builds(
    MemorySample,
    process_bytes=sizes,
    device_bytes=sizes,
    device_limit_bytes=sizes,
    available_bytes=sizes,
    swap_growth_bytes=sizes,
    pressure=st.sampled_from([None, "normal", "warning", "critical"]),
)
caps = st.builds(MemoryLimits, cap_bytes=st.integers(1, 2**50))


@pytest.mark.parametrize(
    ("seen", "action", "why"),
    [
        ({}, "go", ""),
        ({"process_bytes": 97 * GIB}, "go", ""),
        ({"process_bytes": 97 * GIB + 1}, "shrink", "97.00 GiB is close to the cap"),
        ({"device_bytes": 98 * GIB}, "shrink", "98.00 GiB is close to the cap"),
        ({"process_bytes": 100 * GIB}, "shrink", "100.00 GiB is close to the cap"),
        ({"process_bytes": 100 * GIB + 1}, "stop", "100.00 GiB"),
        ({"process_bytes": 1 * GIB, "device_bytes": 101 * GIB}, "stop", "101.00 GiB"),
        # Two pools, each with the same cap: they are not added up.
        ({"process_bytes": 60 * GIB, "device_bytes": 60 * GIB}, "go", ""),
        ({"device_limit_bytes": 100 * GIB}, "go", ""),
        ({"device_limit_bytes": 101 * GIB}, "stop", "its device would give it up to 101.00 GiB"),
        ({"process_bytes": 40 * GIB, "swap_growth_bytes": 2 * GIB}, "go", ""),
        ({"process_bytes": 40 * GIB, "swap_growth_bytes": 3 * GIB}, "shrink", "swap grew by 3.00 GiB"),
        ({"pressure": "warning"}, "go", ""),
        ({"pressure": "critical"}, "shrink", "the machine is critically short of memory"),
        ({"available_bytes": 0}, "go", ""),
    ],
)
def test_the_rule_by_cases(seen: dict[str, int], action: str, why: str) -> None:
    verdict = judge(dataclasses.replace(NOTHING_SEEN, **seen), LIMITS)
    assert (verdict.action, verdict.why) == (action, why)


@given(sample=samples, limits=caps)
def test_it_stops_above_the_cap_and_never_below(sample: MemorySample, limits: MemoryLimits) -> None:
    could_take = max(sample.used_bytes, sample.device_limit_bytes or 0)
    assert (judge(sample, limits).action == "stop") == (could_take > limits.cap_bytes)


@given(sample=samples, limits=caps, more=st.integers(0, 2**40))
def test_more_memory_is_never_judged_more_kindly(sample: MemorySample, limits: MemoryLimits, more: int) -> None:
    order = ("go", "shrink", "stop")
    larger = dataclasses.replace(sample, process_bytes=(sample.process_bytes or 0) + more)
    assert order.index(judge(larger, limits).action) >= order.index(judge(sample, limits).action)


@given(sample=samples, limits=caps)
def test_every_verdict_but_go_says_why(sample: MemorySample, limits: MemoryLimits) -> None:
    verdict = judge(sample, limits)
    assert bool(verdict.why) == (verdict.action != "go")


def test_the_probes_see_memory_as_it_is_taken() -> None:
    script = "import sys; hoard = bytearray(b'x') * 200_000_000; print('ready', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    for read in (process_bytes, exact_process_bytes):
        seen = read(process.pid)
        assert seen is not None
        assert 200_000_000 < seen < 230_000_000
    process.communicate()


def test_a_probe_that_cannot_read_says_so() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert process_bytes(gone.pid) is None
    assert exact_process_bytes(gone.pid) is None
    assert group_bytes([gone.pid]) is None
    assert group_bytes([]) is None
    assert _linux_pressure(Path("/nonexistent")) is None


def test_memory_that_two_processes_share_does_not_stop_them(tmp_path: Path) -> None:
    """A child after `fork` shares its parent's pages: the cheap sum is twice what is taken."""
    script = (
        "import os, sys\n"
        "hoard = bytearray(b'x') * 200_000_000\n"
        "child = os.fork()\n"
        "if child:\n    print(child, flush=True)\n    sys.stdin.read()\n    os.kill(child, 9)\n    os.wait()\n"
        "else:\n    import time; time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    members = [process.pid, int(process.stdout.readline())]
    assert (group_bytes(members) or 0) > 400_000_000
    watch = MemoryWatch(lambda: members, MemoryLog(tmp_path / "memory.jsonl", "stage1"))
    sample, verdict = watch.look(None, None, MemoryLimits(cap_bytes=300_000_000))
    process.communicate()
    assert verdict.action == "go"
    assert 200_000_000 < (sample.process_bytes or 0) < 240_000_000


def test_a_request_to_shrink_comes_once_in_a_while(tmp_path: Path) -> None:
    watch = MemoryWatch(lambda: [os.getpid()], MemoryLog(tmp_path / "memory.jsonl", "stage1"))
    used = process_bytes(os.getpid())
    assert used is not None
    limits = MemoryLimits(cap_bytes=100 * used, soft_share=0.001)
    assert [watch.look(None, None, limits)[1].action for _ in range(3)] == ["shrink", "go", "go"]
    # What is too much is said every time.
    over = MemoryLimits(cap_bytes=used // 2)
    assert [watch.look(None, None, over)[1].action for _ in range(2)] == ["stop", "stop"]


def test_swap_that_stays_out_asks_once_and_more_of_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS swaps idle programs out when a network is loaded, and leaves them out for hours."""
    monkeypatch.setattr(memory_watch, "SHRINK_EVERY_S", 0.0)
    monkeypatch.setattr(memory_watch, "WRITE_EVERY_S", 0.0)
    swap = iter(gib * GIB for gib in (1, 1, 4, 4, 4, 5, 7, 7))
    log = MemoryLog(tmp_path / "memory.jsonl", "stage1")
    watch = MemoryWatch(lambda: [os.getpid()], log, lambda: SystemMemory(GIB, next(swap), "normal"))
    asked = [watch.look(None, None, LIMITS)[1].action for _ in range(7)]
    assert asked == ["go", "shrink", "go", "go", "go", "shrink", "go"]


def test_a_clock_that_is_set_back_does_not_silence_the_memory_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MemoryLog(tmp_path / "memory.jsonl", "stage1")
    monkeypatch.setattr(memory_watch, "WRITE_EVERY_S", 0.0)
    log.write(MemorySample(1, None), at_once=False)
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    log.write(MemorySample(1, None), at_once=False)
    assert len((tmp_path / "memory.jsonl").read_text().splitlines()) == 2


def test_the_machine_is_read() -> None:
    system = read_system_memory()
    assert system.available_bytes is not None
    assert system.available_bytes > 2**20
    assert system.swap_used_bytes is not None


@pytest.mark.parametrize(
    ("some", "full", "level"), [(0.0, 0.0, "normal"), (12.5, 1.0, "warning"), (60.0, 35.0, "critical")]
)
def test_pressure_of_a_linux_machine(tmp_path: Path, some: float, full: float, level: str) -> None:
    file = tmp_path / "memory"
    file.write_text(
        f"some avg10={some:.2f} avg60=0.00 avg300=0.00 total=0\nfull avg10={full:.2f} avg60=0.00 avg300=0.00 total=0\n"
    )
    assert _linux_pressure(file) == level


def test_a_machine_without_an_nvidia_driver_says_nothing_of_its_cards() -> None:
    if Path("/dev/nvidia0").exists():
        assert (cards_used_bytes() or 0) > 0
    else:
        assert cards_used_bytes() is None
