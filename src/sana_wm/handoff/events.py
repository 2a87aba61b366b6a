"""What a run writes while it runs, for whoever watches it: JSON lines that are read as they grow, never waited for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

Event = dict[str, Any]
#: Enough of a file to know it again.
HEAD_BYTES = 64


class EventReader:
    """Reads a file of JSON lines as it grows; half a line stays for the next time.

    Attributes:
        made_anew: Whether the last `read` began from the beginning, because the file is another one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._head = b""
        self.made_anew = False

    def read(self) -> list[Event]:
        """The events since the last call; from the beginning again when the file was made anew.

        A line that is no JSON object is left out: a writer that was killed, or a full disk, can leave one.
        """
        self.made_anew = False
        try:
            with self._path.open("rb") as file:
                self._rewind_if_new(file)
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return []
        whole, newline, _ = content.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return [event for line in whole.splitlines() if (event := _parse(line)) is not None]

    def _rewind_if_new(self, file: IO[bytes]) -> None:
        """Know another file by how it begins: the first event's time. A deleted file's inode is soon another's."""
        head = file.read(HEAD_BYTES)
        if not head.startswith(self._head) or not self._head:
            self._offset, self.made_anew = 0, bool(head)
        self._head = head


def read_events(path: Path) -> list[Event]:
    """All events of a file; none when it is not there."""
    return EventReader(path).read()


@dataclass(frozen=True)
class MemoryReading:
    """A line of `events/memory.jsonl`: one look at a running stage. `None` where the system cannot say.

    Attributes:
        time_s: Wall clock.
        stage: The stage that ran.
        process_bytes: What the system charges to the stage and its children.
        device_bytes: What the stage reports of its device.
        available_bytes: What the whole machine could still give.
        swap_growth_bytes: The machine's swap in use now above what it was when the stage began, or was last asked to
            take less.
        pressure: How much the machine is in need: `normal`, `warning` or `critical`.
    """

    time_s: float
    stage: str
    process_bytes: int | None = None
    device_bytes: int | None = None
    available_bytes: int | None = None
    swap_growth_bytes: int | None = None
    pressure: str | None = None

    @classmethod
    def from_event(cls, event: Event) -> MemoryReading | None:
        """The reading in a line, `None` when it holds none."""
        time_s, stage = event.get("time_s"), event.get("stage")
        if not isinstance(time_s, int | float) or not isinstance(stage, str):
            return None
        names = ("process_bytes", "device_bytes", "available_bytes", "swap_growth_bytes")
        pressure = event.get("pressure")
        counts = {name: _count(event.get(name)) for name in names}
        return cls(float(time_s), stage, **counts, pressure=pressure if isinstance(pressure, str) else None)


def read_memory_log(path: Path) -> list[MemoryReading]:
    """All readings of a run, resumed parts included, in the order of time."""
    readings = [reading for event in read_events(path) if (reading := MemoryReading.from_event(event)) is not None]
    return sorted(readings, key=lambda reading: reading.time_s)


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
