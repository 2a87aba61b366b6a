"""Progress for people: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Protocol, Self, TextIO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from sana_wm.cli.background_stream import BackgroundStream, never_waiting
from sana_wm.cli.colours import colour_of
from sana_wm.errors import printable
from sana_wm.figures import format_seconds
from sana_wm.printing import drawing_stream
from sana_wm.progress.run_progress import ProgressEvent
from sana_wm.progress.snapshot import RunSnapshot, StageSnapshot
from sana_wm.progress.time_left import describe_time_left
from sana_wm.sizes import GIB

PLAIN_LINE_EVERY_S = 10.0
BAR_CELLS = 24
#: One cell wide in every terminal, and in ASCII: a log may be read anywhere.
MARKS = {"done": "+", "skipped": "=", "running": ">", "stopped": "!", "to come": ".", "not asked": ".", "off": "-"}


class ProgressView(Protocol):
    """Shows a run between opening and closing."""

    def __enter__(self) -> Self:
        """Open it."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        ...

    def __call__(self, event: ProgressEvent, snapshot: RunSnapshot) -> None:
        """Show what happened and where the run is now."""
        ...

    def say(self, line: str) -> None:
        """Show a line that stays."""
        ...


def make_view(stream: TextIO) -> ProgressView:
    """The view that suits a stream; showing never waits for who reads it."""
    shown = never_waiting(drawing_stream(stream))
    return LiveView(shown) if stream.isatty() else PlainView(shown)


class PlainView:
    """One line when a phase begins, every ten seconds, at a phase's last step and when a stage ends."""

    def __init__(self, stream: IO[str] | BackgroundStream, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._said_at_s = 0.0
        self._said: tuple[str | None, str | None, bool] = (None, None, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _drain(self._stream)

    def __call__(self, event: ProgressEvent, snapshot: RunSnapshot) -> None:
        """Say what changed, if it is time to."""
        match event:
            case "stage_ended":
                ended = [one for one in snapshot.stages if one.state == "done"][-1]
                self.say(f"{ended.stage}: {describe_stage(ended, snapshot)}")
            case "stopping" | "shrinking":
                self.say(f"{snapshot.stage}: {snapshot.note}")
            case "progress":
                state = (snapshot.stage, snapshot.phase, snapshot.total is not None and snapshot.step == snapshot.total)
                if state != self._said or self._clock() - self._said_at_s >= PLAIN_LINE_EVERY_S:
                    self._said, self._said_at_s = state, self._clock()
                    self.say(describe_line(snapshot))
            case _:
                pass

    def say(self, line: str) -> None:
        """Write a line."""
        with contextlib.suppress(OSError):  # a closed terminal must not end the run
            self._stream.write(printable(line) + "\n")
            self._stream.flush()


class LiveView:
    """The whole run, drawn again in place."""

    def __init__(self, stream: IO[str] | BackgroundStream) -> None:
        self._stream = stream
        self._live = Live(console=Console(file=cast("IO[str]", stream)), refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)
        _drain(self._stream)

    def __call__(self, event: ProgressEvent, snapshot: RunSnapshot) -> None:
        """Draw the run again; how it ended the command itself says then."""
        lines = describe_run(snapshot)
        texts = (Text(line, style=colour_of(line) or "", overflow="ellipsis", no_wrap=True) for line in lines)
        self._live.update(Group(*texts))

    def say(self, line: str) -> None:
        """Write a line above the run."""
        self._live.console.print(Text(printable(line)))


def _drain(stream: IO[str] | BackgroundStream) -> None:
    if isinstance(stream, BackgroundStream):
        stream.drain()


def describe_run(snapshot: RunSnapshot) -> list[str]:
    """The whole run in lines: time, each stage, memory, the last picture."""
    lines = [f"{snapshot.name}: {', '.join(part for part in (snapshot.state, *_times(snapshot)) if part)}"]
    lines += [f"{MARKS[one.state]} {one.stage:<10}  {describe_stage(one, snapshot)}" for one in snapshot.stages]
    memory = snapshot.memory
    if memory.used_bytes is not None:
        share = min(1.0, memory.used_bytes / memory.cap_bytes)
        bar = "#" * round(share * BAR_CELLS)
        lines.append(f"memory        [{bar:.<{BAR_CELLS}}] {_memory(snapshot)}")
    if snapshot.note is not None:
        lines.append(f"note          {snapshot.note}")
    if snapshot.preview is not None:
        lines.append(f"picture       {snapshot.preview}")
    return [printable(line) for line in lines]


def describe_end(snapshot: RunSnapshot) -> list[str]:
    """How a run ended, if it did: its result, or the error."""
    video = [] if snapshot.video is None else [f"video         {snapshot.video}"]
    error = [] if snapshot.error is None else [f"error         {snapshot.error.message}"]
    return [printable(line) for line in (*video, *error)]


def describe_line(snapshot: RunSnapshot) -> str:
    """The running stage and the whole run in one line."""
    running = next((one for one in snapshot.stages if one.state == "running"), None)
    parts = [describe_stage(running, snapshot)] if running is not None else []
    parts += [part for part in _times(snapshot) if part]
    if snapshot.memory.used_bytes is not None:
        parts.append(_memory(snapshot))
    if snapshot.preview is not None:
        parts.append(f"picture {snapshot.preview}")
    return printable(f"{snapshot.stage or 'between stages'}: {', '.join(parts)}")


def describe_stage(one: StageSnapshot, snapshot: RunSnapshot) -> str:
    """One stage in words."""
    match one.state:
        case "off" | "not asked":
            return "off" if one.state == "off" else "to come, not asked for"
        case "skipped":
            return f"done before{f', in {format_seconds(one.seconds)}' if one.seconds is not None else ''}"
        case "done":
            return f"done in {format_seconds(one.seconds or 0.0)}"
        case "to come":
            about = f", about {format_seconds(one.expected_seconds)}" if one.expected_seconds is not None else ""
            return f"to come{about}"
        case "running":
            return _describe_running(snapshot)
        case "stopped":
            return f"stopped after {format_seconds(one.seconds or 0.0)} in {_describe_running(snapshot)}"


def _describe_running(snapshot: RunSnapshot) -> str:
    parts = [(snapshot.phase or "").replace("_", " ")]
    if snapshot.total is not None:
        parts[0] += f" {snapshot.step}/{snapshot.total}"
    if snapshot.seconds_per_step is not None:
        parts.append(f"{snapshot.seconds_per_step:.2f} s/step")
    if snapshot.phase_remaining_s:
        parts.append(f"{format_seconds(snapshot.phase_remaining_s)} to its last step")
    return ", ".join(parts)


def _times(snapshot: RunSnapshot) -> tuple[str, str]:
    """Elapsed and left, in words; empty where unknown."""
    elapsed = f"{format_seconds(snapshot.elapsed_s)} elapsed" if snapshot.elapsed_s is not None else ""
    return elapsed, describe_time_left(snapshot)


def _memory(snapshot: RunSnapshot) -> str:
    memory = snapshot.memory
    return f"{(memory.used_bytes or 0) / GIB:.1f} of {memory.cap_bytes / GIB:.1f} GiB"
