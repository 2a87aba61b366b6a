"""Progress for people: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sana_wm.launcher.progress import StageProgress
from sana_wm.launcher.supervisor import View

GIB = 1024**3
PLAIN_LINE_EVERY_S = 10.0
STOPPING = "stopping: its step ends and is saved first; Ctrl-C again ends it at once"


class ProgressView(View, Protocol):
    """A view that is opened and closed."""

    def __enter__(self) -> Self:
        """Open it."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        ...


def make_view(cap_bytes: int) -> ProgressView:
    """The view that suits where standard error goes."""
    return LiveView(cap_bytes) if sys.stderr.isatty() else PlainView(cap_bytes)


class PlainView:
    """One line when a phase begins, every ten seconds, at a phase's last step and when a stage ends."""

    def __init__(self, cap_bytes: int) -> None:
        self._cap_bytes = cap_bytes
        self._said_at_s = 0.0
        self._said: tuple[str, bool] = ("", False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def stage_started(self, progress: StageProgress) -> None:
        """Say that a stage begins."""
        self._write(f"{progress.stage}: started")

    def updated(self, progress: StageProgress) -> None:
        """Say what changed, if it is time to."""
        state = (progress.phase, 0 < progress.total == progress.step)
        if state != self._said or time.monotonic() - self._said_at_s >= PLAIN_LINE_EVERY_S:
            self._said, self._said_at_s = state, time.monotonic()
            self._write(f"{progress.stage}: {describe(progress, self._cap_bytes)}")

    def stage_asked_to_stop(self, progress: StageProgress) -> None:
        """Say what is waited for."""
        self._write(f"{progress.stage}: {STOPPING}")

    def stage_asked_to_shrink(self, progress: StageProgress, why: str) -> None:
        """Say that the stage takes less from now on."""
        self._write(f"{progress.stage}: {why}: asked to take less memory and to save")

    def stage_ended(self, progress: StageProgress, seconds: float) -> None:
        """Say that a stage is done."""
        self._write(f"{progress.stage}: done in {format_seconds(seconds)}")

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a closed terminal must not end the run
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


class LiveView:
    """A table that is drawn again in place."""

    def __init__(self, cap_bytes: int) -> None:
        self._cap_bytes = cap_bytes
        self._done: list[tuple[str, str]] = []
        self._live = Live(console=Console(stderr=True), refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def stage_started(self, progress: StageProgress) -> None:
        """Draw the stage's line."""
        self.updated(progress)

    def updated(self, progress: StageProgress) -> None:
        """Draw the table again."""
        self._live.update(self._table((progress.stage, describe(progress, self._cap_bytes))))

    def stage_asked_to_stop(self, progress: StageProgress) -> None:
        """Say what is waited for, above the table."""
        self._live.console.print(Text(f"{progress.stage}: {STOPPING}"))

    def stage_asked_to_shrink(self, progress: StageProgress, why: str) -> None:
        """Say so, above the table."""
        self._live.console.print(Text(f"{progress.stage}: {why}: asked to take less memory and to save"))

    def stage_ended(self, progress: StageProgress, seconds: float) -> None:
        """Keep the stage's line as done."""
        self._done.append((progress.stage, f"done in {format_seconds(seconds)}"))
        self._live.update(self._table())

    def _table(self, *running: tuple[str, str]) -> Table:
        table = Table.grid(padding=(0, 2))
        for row in (*self._done, *running):
            table.add_row(*map(Text, row))
        return table


def describe(progress: StageProgress, cap_bytes: int) -> str:
    """One line: phase, step k of n, elapsed, ETA, memory against the cap, the last preview."""
    parts = [progress.phase.replace("_", " ")]
    if progress.total:
        parts.append(f"{progress.step}/{progress.total}")
    parts.append(f"{format_seconds(time.monotonic() - progress.started_s)} elapsed")
    if progress.remaining_s is not None and progress.seconds_per_step is not None:
        parts.append(
            f"{progress.seconds_per_step:.2f} s/step, {format_seconds(progress.remaining_s)} left in this stage"
        )
    if progress.sample.used_bytes:
        parts.append(f"{progress.sample.used_bytes / GIB:.1f} of {cap_bytes / GIB:.0f} GiB")
    if progress.preview:
        parts.append(f"preview {progress.preview}")
    return ", ".join(parts)


def format_seconds(seconds: float) -> str:
    """`45 s`, `12 m 03 s`, `3 h 12 m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m"
