"""Recorded runs: the events of tiny ones, on a quiet machine and beside other work."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sana_wm.names import Stage
from sana_wm.planning.past_runs import PastMetrics, seconds_of_run
from sana_wm.progress.stage_progress import StageProgress, replay
from sana_wm.runs.events import Event, parse_event, to_line
from sana_wm.runs.run_directory import RunDirectory

FOLDER = Path(__file__).parent / "recorded_runs"


@dataclass(frozen=True)
class RecordedRun:
    metrics: dict[str, Any]
    events: dict[Stage, list[Event]]

    @property
    def seconds(self) -> float:
        return self.metrics["seconds"]

    @property
    def started_at_s(self) -> float:
        covered = sum(events[-1].time_s - events[0].time_s for events in self.events.values())
        return self.events["stage1"][0].time_s - (self.seconds - covered) / 3

    def write(self, run: RunDirectory) -> None:
        for stage, events in self.events.items():
            run.events_file(stage).parent.mkdir(parents=True, exist_ok=True)
            run.events_file(stage).write_text("".join(map(to_line, events)))
        run.metrics_file.write_text(json.dumps(self.metrics))

    def history(self, folder: Path) -> dict[tuple[Stage, str], float]:
        run = RunDirectory(folder)
        self.write(run)
        return seconds_of_run(run, PastMetrics.model_validate_json(json.dumps(self.metrics)))

    def seen_at(self, share: float) -> tuple[float, dict[Stage, StageProgress]]:
        """Wall clock, and what had been seen, when this share of the run's time had passed."""
        now_s = self.started_at_s + share * self.seconds
        seen: dict[Stage, StageProgress] = {}
        begin_s = self.started_at_s
        for stage in self.events:
            events = [event for event in self.events[stage] if event.time_s <= now_s]
            done = len(events) == len(self.events[stage])
            end_s = events[-1].time_s if done else None
            seen[stage] = replay(stage, events, started_at_s=begin_s, ended_at_s=end_s)
            if end_s is None:
                break
            begin_s = end_s
        return now_s, seen


def load_recorded_runs() -> dict[str, RecordedRun]:
    """By name: `quiet` and `loaded`."""
    return {path.stem: _load(path) for path in FOLDER.glob("*.json")}


def _load(path: Path) -> RecordedRun:
    content = json.loads(path.read_text())
    return RecordedRun(
        {key: content[key] for key in ("seconds", "finished_at", "stages_run")},
        {stage: [_event(line) for line in content[stage]] for stage in content["stages_run"]},
    )


def _event(line: dict[str, Any]) -> Event:
    event = parse_event(json.dumps(line).encode())
    assert event is not None
    return event
