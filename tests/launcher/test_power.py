"""Sleep and power, with readers of our own: no machine of ours has a battery, or is a Mac."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sana_wm.launcher import power
from sana_wm.launcher.power import ClockWatch, PowerReading, PowerWatch, read_power, reason_to_pause
from sana_wm.manifest.limits import PowerSection

LIMITS = PowerSection(pause_below_battery_percent=30, pause_when_hot=True)


@pytest.mark.parametrize(
    ("battery", "thermal", "paused", "said"),
    [
        (None, None, False, None),
        (31.0, 2, False, None),
        (29.0, 0, False, "battery is at 29 %"),
        (None, 3, False, "too hot"),
        (34.0, 0, True, "battery is at 34 %"),
        (35.0, 0, True, None),
    ],
)
def test_when_a_run_pauses(battery: float | None, thermal: int | None, paused: bool, said: str | None) -> None:
    reason = reason_to_pause(PowerReading(battery, thermal), LIMITS, paused=paused)
    assert (reason is None) == (said is None)
    assert said is None or said in str(reason)


def test_nothing_pauses_unless_the_manifest_asks() -> None:
    assert reason_to_pause(PowerReading(1.0, 4), PowerSection(), paused=False) is None


def test_a_machine_that_cannot_say_says_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil, "sensors_battery", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert read_power() == PowerReading(None, None)


def test_a_sleep_is_told_from_time_that_passed() -> None:
    now = {"wall": 1000.0, "awake": 50.0}
    clock = ClockWatch(lambda: now["wall"], lambda: now["awake"])
    now |= {"wall": 1300.0, "awake": 350.0}
    assert clock.jump_s() is None
    now |= {"wall": 8500.0, "awake": 350.5}
    assert clock.jump_s() == pytest.approx(7199.5)
    assert clock.jump_s() is None
    now |= {"wall": 8400.0}
    assert clock.jump_s() == pytest.approx(-100)


def test_a_look_says_that_the_machine_slept_and_asks_once_for_a_pause() -> None:
    said: list[str] = []
    asked: list[bool] = []
    now = {"wall": 0.0}
    clock = ClockWatch(lambda: now["wall"], lambda: 0.0)
    watch = PowerWatch(
        LIMITS, None, lambda: asked.append(True), said.append, read=lambda: PowerReading(5.0, None), clock=clock
    )
    now["wall"] = 3600.0
    watch.look()
    watch.look()
    assert asked == [True]
    assert said[0].startswith("the machine slept: the wall clock moved by +3600 s")
    assert said[1].startswith("pausing at the next checkpoint: the battery is at 5 %")


def test_a_pause_ends_by_itself_or_by_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "LOOK_EVERY_S", 0.001)
    charge = iter([5.0, 20.0, 33.0, 36.0])
    read: Callable[[], PowerReading] = lambda: PowerReading(next(charge), None)  # noqa: E731
    watch = PowerWatch(LIMITS, None, lambda: None, print, read=read)
    assert watch.wait_until_fine(lambda: False)
    assert list(charge) == []
    low = PowerWatch(LIMITS, None, lambda: None, print, read=lambda: PowerReading(5.0, None))
    assert not low.wait_until_fine(lambda: True)


def test_what_keeps_the_machine_awake_ends_with_the_stage(tmp_path: Path) -> None:
    watch = PowerWatch(PowerSection(), ["/bin/sleep", "600"], lambda: None, print)
    before = set(psutil.Process().children())
    with watch:
        (awake,) = set(psutil.Process().children()) - before
    assert not awake.is_running()
    said: list[str] = []
    with PowerWatch(PowerSection(), [str(tmp_path / "absent")], lambda: None, said.append):
        pass
    assert "may fall asleep" in said[0]


def test_the_command_is_tied_to_the_stage_on_macos_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert power.keep_awake_command(77) == ["/usr/bin/caffeinate", "-i", "-m", "-s", "-w", "77"]
    monkeypatch.setattr(sys, "platform", "linux")
    assert power.keep_awake_command(77) is None
