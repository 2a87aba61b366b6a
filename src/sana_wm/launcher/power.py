"""Sleep and power while a stage works: keep the machine awake, notice when it slept, pause when the manifest asks.

macOS is kept awake by `caffeinate`, tied to the pid of the stage, so that nothing stays behind. A probe that cannot
read says so with `None`, and `None` never pauses. Nothing here was run on a Mac by this project yet.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil

from sana_wm.manifest.limits import PowerSection

LOOK_EVERY_S = 1.0
#: The two clocks drift apart by far less than this within a look, however late it comes.
JUMP_S = 10.0
#: Above the limit by this much before it goes on, so that it does not stop and start around it.
BATTERY_MARGIN_PERCENT = 5
#: Of `com.apple.system.thermalpressurelevel`: nominal 0, moderate 1, heavy 2, trapping 3, sleeping 4.
CRITICAL_THERMAL_LEVEL = 3


@dataclass(frozen=True)
class PowerReading:
    """What the system says now; `None` where it cannot say.

    Attributes:
        battery_percent: Charge while the machine runs on its battery; `None` on mains, too.
        thermal_level: macOS's thermal pressure, 0 to 4.
    """

    battery_percent: float | None
    thermal_level: int | None


def read_power() -> PowerReading:
    """Ask the system."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, ValueError):  # not on every platform, and the file system of Linux may lack it
        battery = None
    percent = battery.percent if battery is not None and battery.power_plugged is False else None
    return PowerReading(percent, _thermal_level())


def reason_to_pause(reading: PowerReading, limits: PowerSection, *, paused: bool) -> str | None:
    """Why a run should pause, or stay paused, in words; `None` when it may work."""
    battery, limit = reading.battery_percent, limits.pause_below_battery_percent
    if battery is not None and limit is not None and battery < limit + (BATTERY_MARGIN_PERCENT if paused else 0):
        return f"the battery is at {battery:.0f} % (power.pause_below_battery_percent {limit})"
    level = reading.thermal_level
    if limits.pause_when_hot and level is not None and level >= CRITICAL_THERMAL_LEVEL:
        return f"the machine is too hot (thermal pressure level {level})"
    return None


class ClockWatch:
    """Tells a sleep, or a clock that was set, from time that passed: only the wall clock runs on through both."""

    def __init__(self, wall: Callable[[], float] = time.time, awake: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._awake = wall, awake
        self._last = (wall(), awake())

    def jump_s(self) -> float | None:
        """By how much the wall clock ran ahead of (or fell behind) the other since the last look, if by much."""
        before, self._last = self._last, (self._wall(), self._awake())
        jump_s = (self._last[0] - before[0]) - (self._last[1] - before[1])
        return jump_s if abs(jump_s) >= JUMP_S else None


def keep_awake_command(pid: int) -> list[str] | None:
    """The command that keeps this machine awake until a process is gone; `None` where there is none to run."""
    return ["/usr/bin/caffeinate", "-i", "-m", "-s", "-w", str(pid)] if sys.platform == "darwin" else None


@contextlib.contextmanager
def kept_awake(command: Sequence[str] | None, say: Callable[[str], None]) -> Generator[None]:
    """Keep the machine awake while the block runs.

    Args:
        command: From `keep_awake_command`.
        say: Takes a line for the user.
    """
    process = None
    if command is not None:
        quiet = subprocess.DEVNULL
        try:
            # In a group of its own: Ctrl-C is for this program, which then still saves a step.
            process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, process_group=0)
        except OSError as error:
            say(f"this machine may fall asleep: {command[0]} cannot be started ({error.strerror})")
    try:
        yield
    finally:
        if process is not None:
            process.terminate()
            process.wait()


class PowerWatch:
    """Beside one running stage, in a thread of its own.

    Args:
        limits: From the manifest.
        awake: Command that keeps the machine awake, from `keep_awake_command`.
        ask_to_stop: Asks the stage to save and leave.
        say: Takes a line for the user.
        read: Reads the power; tests give their own.
        clock: Tells sleep; tests give their own.
    """

    def __init__(
        self,
        limits: PowerSection,
        awake: Sequence[str] | None,
        ask_to_stop: Callable[[], None],
        say: Callable[[str], None],
        *,
        read: Callable[[], PowerReading] = read_power,
        clock: ClockWatch | None = None,
    ) -> None:
        self.reason: str | None = None
        self._limits, self._ask_to_stop, self._say, self._read = limits, ask_to_stop, say, read
        self._kept_awake = kept_awake(awake, say)
        self._clock = clock or ClockWatch()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="power", daemon=True)

    def __enter__(self) -> Self:
        self._kept_awake.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._kept_awake.__exit__(None, None, None)

    def wait_until_fine(self, stop_asked: Callable[[], bool]) -> bool:
        """Wait until nothing speaks for a pause any more; whether that came before the user asked to stop."""
        while reason_to_pause(self._read(), self._limits, paused=True) is not None:
            if stop_asked():
                return False
            time.sleep(LOOK_EVERY_S)
        return not stop_asked()

    def _watch(self) -> None:
        while not self._end.wait(LOOK_EVERY_S):
            self.look()

    def look(self) -> None:
        """One look: say that the machine slept, and ask for a pause."""
        if (jump_s := self._clock.jump_s()) is not None:
            what = "the machine slept" if jump_s > 0 else "the clock was set back"
            self._say(f"{what}: the wall clock moved by {jump_s:+.0f} s while nothing ran; the run goes on")
        if self.reason is None:
            self.reason = reason_to_pause(self._read(), self._limits, paused=False)
            if self.reason is not None:
                self._say(f"pausing at the next checkpoint: {self.reason}")
                self._ask_to_stop()


def _thermal_level() -> int | None:
    """The thermal pressure that macOS publishes through `notify(3)`."""
    if sys.platform != "darwin":
        return None
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("/usr/lib/libSystem.dylib")
        token, level = ctypes.c_int(), ctypes.c_uint64()
        name = b"com.apple.system.thermalpressurelevel"
        if library.notify_register_check(name, ctypes.byref(token)) == 0:
            try:
                if library.notify_get_state(token, ctypes.byref(level)) == 0:
                    return int(level.value)
            finally:
                library.notify_cancel(token)
    return None
