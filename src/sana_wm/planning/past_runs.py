"""What earlier runs of the same work took: read from the events, manifests and metrics that they left.

They lie in folders that anybody may write: whatever is wrong with one, it is no history, and never a reason to stop.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime

from sana_wm.errors import HandoffError
from sana_wm.manifest.field_table import manifest_fields
from sana_wm.manifest.model import Manifest
from sana_wm.names import Stage
from sana_wm.progress.idle import worked_s
from sana_wm.progress.run_record import RunStart
from sana_wm.progress.stage_progress import replay
from sana_wm.records import OpenRecord, Seconds, read_record
from sana_wm.runs.events import Event, StageDone, read_events
from sana_wm.runs.receipts import flatten
from sana_wm.runs.run_directory import RunDirectory

#: Events of a stage that runs for two days, its device's memory twice a second among them. More is not read.
MAX_EVENTS_BYTES = 32 * 1024**2


class Machine(OpenRecord):
    """Where a run was made."""

    processor: str


class StageFigures(OpenRecord):
    """A stage, and the device that it said it worked on, such as `cuda:0`."""

    stage: Stage
    device: str


class PastMetrics(OpenRecord):
    """What counts here of a `metrics.json`."""

    finished_at: AwareDatetime
    seconds: Seconds
    stages_run: tuple[Stage, ...]
    machine: Machine | None = None
    stages: tuple[StageFigures, ...] = ()


@dataclass(frozen=True)
class PastRun:
    """A finished run of the same work.

    Attributes:
        path: Its directory.
        seconds: By stage and phase, starts and gaps included; phases that an interruption cut are left out.
        processor: Of the machine; `None` where it does not say.
        device_kinds: Of the stages that say so.
    """

    path: Path
    seconds: dict[tuple[Stage, str], float]
    processor: str | None = None
    device_kinds: frozenset[str] = frozenset()

    def was_on(self, device_kind: str, processor: str) -> bool:
        """Whether it was made on such a device of such a machine, as far as it says."""
        return self.processor in (None, processor) and self.device_kinds <= {device_kind}


def find_past_runs(run: RunDirectory, manifest: Manifest) -> Generator[PastRun]:
    """Finished runs of the same work in this run directory and in its neighbours, newest first.

    Events are read only of the runs that are asked for.
    """
    wanted = work_fields(manifest)
    found: list[tuple[PastMetrics, RunDirectory]] = []
    for other in _neighbours(run):
        metrics = read_record(other.metrics_file, PastMetrics)
        if metrics is not None and _work_of(other) == wanted:
            found.append((metrics, other))
    for metrics, other in sorted(found, key=lambda item: item[0].finished_at, reverse=True):
        if seconds := seconds_of_run(other, metrics):
            kinds = frozenset(row.device.split(":")[0] for row in metrics.stages)
            yield PastRun(other.path, seconds, metrics.machine and metrics.machine.processor, kinds)


def work_fields(manifest: Manifest) -> dict[str, Any]:
    """The manifest fields that decide how much work a run is, flat."""
    flat, fields = flatten(manifest.model_dump(mode="json")), manifest_fields()
    return {name: value for name, value in flat.items() if name in fields and fields[name].facts.is_work}


def seconds_of_run(run: RunDirectory, metrics: PastMetrics) -> dict[tuple[Stage, str], float]:
    """Seconds by stage and phase of the stages that a directory's last start ran, where one process did the whole.

    A stage's events begin when it has imported everything. Where the run does not say when its processes were started
    (earlier releases did not), what it took besides is shared out: all stages import much the same.

    Args:
        run: A finished run.
        metrics: Its `metrics.json`.
    """
    events: dict[Stage, list[Event]] = {stage: _events_of(run, stage) for stage in metrics.stages_run}
    finished_s = metrics.finished_at.timestamp()
    if not events or any(not _is_of(found, finished_s) for found in events.values()):
        return {}  # a later start, unfinished, has written over them
    start = RunStart.read(run) or RunStart(started_at_s=0.0, actions={})
    covered_s = sum(worked_s(found[0].time_s, found[-1].time_s, start.idle) for found in events.values())
    unseen_s = max(0.0, metrics.seconds - covered_s) / len(events)
    seconds: dict[tuple[Stage, str], float] = {}
    for stage, found in events.items():
        begun_s = start.begun_s.get(stage, found[0].time_s - unseen_s)
        ended_s = start.ended_s.get(stage, found[-1].time_s)
        progress = replay(stage, found, started_at_s=begun_s, ended_at_s=ended_s, idle=start.idle)
        seconds |= {(stage, phase): spent_s for phase, spent_s in progress.whole_s().items()}
    return seconds


def _neighbours(run: RunDirectory) -> list[RunDirectory]:
    try:
        return [RunDirectory(path) for path in run.path.parent.iterdir()]
    except OSError:  # not there yet, or not for us to read
        return []


def _work_of(run: RunDirectory) -> dict[str, Any] | None:
    try:
        return work_fields(run.read_manifest())
    except (HandoffError, OSError):
        return None


def _events_of(run: RunDirectory, stage: Stage) -> list[Event]:
    path = run.events_file(stage)
    try:
        return read_events(path) if path.stat().st_size <= MAX_EVENTS_BYTES else []
    except OSError:
        return []


def _is_of(events: list[Event], finished_s: float) -> bool:
    """Whether a stage ended before a run did; the run's end is known to the second."""
    return bool(events) and isinstance(events[-1], StageDone) and events[-1].time_s < finished_s + 1
