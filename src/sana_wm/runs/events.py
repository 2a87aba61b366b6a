"""What a stage tells while it runs: one record per kind of event, a JSON line each, and nothing else.

The words of the lines stand here and nowhere else. A line that is none of these, damaged or of a later version, says
nothing; a key that a later version adds is passed over.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from sana_wm.names import DeviceKind, Stage
from sana_wm.records import Count, OpenRecord, Seconds, WallClock
from sana_wm.runs.lines import LineReader


class _Stamped(OpenRecord):
    time_s: WallClock


class DeviceFacts(OpenRecord):
    """The device that a stage works on; see `sana_wm.planning.device.Device`."""

    kind: DeviceKind
    name: str
    memory_bytes: Count
    torch_version: str


class StageStart(_Stamped):
    """A stage has imported everything and begins.

    Attributes:
        device_limit_bytes: At which its device refuses to allocate; `None` where it never does.
    """

    event: Literal["stage_start"] = "stage_start"
    stage: Stage | None = None
    device: str | None = None
    dtype: str | None = None
    device_facts: DeviceFacts | None = None
    device_limit_bytes: Count | None = None


class PhaseStart(_Stamped):
    """A phase begins."""

    event: Literal["phase_start"] = "phase_start"
    phase: str


class PhaseEnd(_Stamped):
    """A phase is over; what it cost as in `sana_wm.runs.receipts.PhaseRecord`."""

    event: Literal["phase_end"] = "phase_end"
    name: str
    seconds: Seconds | None = None
    peak_device_bytes: Count | None = None
    after_release_bytes: Count | None = None


class StepsBegin(_Stamped):
    """The running phase begins to count: `step` of `total` steps are done already.

    Attributes:
        by_earlier_start: Whether an earlier start of this run did them: what this phase takes is not what it takes as
            a whole. Steps that belong to another run, such as the one that is gone on from, are no part of it.
        share: As of `StepDone`.
    """

    event: Literal["steps_begin"] = "steps_begin"
    step: Count
    total: Count
    by_earlier_start: bool = False
    share: Annotated[float, Field(ge=0, le=1)] | None = None


class StepDone(_Stamped):
    """Step `step` of `total` of the running phase is done.

    Attributes:
        preview: The picture of it, if one was made.
        share: Of the phase's work that is done; `None` where every step is as much.
    """

    event: Literal["step"] = "step"
    step: Count
    total: Count
    preview: str | None = None
    share: Annotated[float, Field(ge=0, le=1)] | None = None


class DeviceUse(_Stamped):
    """What the device says that the stage holds.

    Attributes:
        device_bytes: Pools and scratch included: what is held against the cap.
        current_bytes: Live tensors.
    """

    event: Literal["memory"] = "memory"
    device_bytes: Count | None = None
    current_bytes: Count | None = None


class PlanShrunk(_Stamped):
    """The stage goes on with a smaller plan, after `step` where it counts steps."""

    event: Literal["shrunk"] = "shrunk"
    step: Count | None = None
    plan: dict[str, Any] = Field(default_factory=dict[str, Any])


class StageFailed(_Stamped):
    """The stage ends with an error of the class `kind`."""

    event: Literal["error"] = "error"
    kind: str | None = None
    message: str
    exit_code: Count | None = None


class StageDone(_Stamped):
    """The stage has written its receipt: nothing follows."""

    event: Literal["done"] = "done"


Event = StageStart | PhaseStart | PhaseEnd | StepsBegin | StepDone | DeviceUse | PlanShrunk | StageFailed | StageDone
_EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


class MemoryReading(OpenRecord):
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

    time_s: WallClock
    stage: str
    process_bytes: Count | None = None
    device_bytes: Count | None = None
    available_bytes: Count | None = None
    swap_growth_bytes: Count | None = None
    pressure: str | None = None


def now_s() -> float:
    """The wall clock, as events are stamped."""
    return round(time.time(), 3)


def to_line(record: Event | MemoryReading) -> str:
    """A record as a line of its file."""
    return json.dumps(record.model_dump(mode="json")) + "\n"


def parse_event(line: bytes) -> Event | None:
    """The event in a line, `None` when it holds none."""
    try:
        return _EVENTS.validate_json(line)
    except ValidationError:
        return None


def parse_reading(line: bytes) -> MemoryReading | None:
    """The reading in a line, `None` when it holds none."""
    try:
        return MemoryReading.model_validate_json(line)
    except ValidationError:
        return None


def read_events(path: Path) -> list[Event]:
    """All events of a file; none when it is not there."""
    return LineReader(path, parse_event).read()


def read_memory_log(path: Path) -> list[MemoryReading]:
    """All readings of a run, resumed parts included, in the order of time."""
    return sorted(LineReader(path, parse_reading).read(), key=lambda reading: reading.time_s)
