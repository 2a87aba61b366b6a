"""Recorded runs: the events of tiny ones, on a quiet machine and beside other work, and those of three hours."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sana_wm.names import Stage
from sana_wm.planning.past_runs import PastMetrics, seconds_of_run
from sana_wm.progress.idle import Idle
from sana_wm.progress.run_record import RunStart
from sana_wm.progress.stage_progress import StageProgress, replay
from sana_wm.runs.events import Event, parse_event, to_line
from sana_wm.runs.run_directory import RunDirectory

FOLDER = Path(__file__).parent / "recorded_runs"


@dataclass(frozen=True)
class RecordedRun:
    metrics: dict[str, Any]
    events: dict[Stage, list[Event]]
    begun_s: dict[Stage, float] = field(default_factory=dict[Stage, float])
    ended_s: dict[Stage, float] = field(default_factory=dict[Stage, float])
    idle: tuple[Idle, ...] = ()
    guess_s: dict[tuple[Stage, str], float] = field(default_factory=dict[tuple[Stage, str], float])

    @property
    def seconds(self) -> float:
        return self.metrics["seconds"]

    @property
    def started_at_s(self) -> float:
        if self.begun_s:
            return self.begun_s["stage1"]
        covered = sum(events[-1].time_s - events[0].time_s for events in self.events.values())
        return self.events["stage1"][0].time_s - (self.seconds - covered) / 3

    def write(self, run: RunDirectory) -> None:
        for stage, events in self.events.items():
            run.events_file(stage).parent.mkdir(parents=True, exist_ok=True)
            run.events_file(stage).write_text("".join(map(to_line, events)))
        run.metrics_file.write_text(json.dumps(self.metrics))
        if self.begun_s:
            start = RunStart(
                started_at_s=self.started_at_s,
                actions=dict.fromkeys(self.events, "run"),
                begun_s=self.begun_s,
                ended_s=self.ended_s,
                idle=self.idle,
            )
            start.update(run)

    def history(self, folder: Path) -> dict[tuple[Stage, str], float]:
        run = RunDirectory(folder)
        self.write(run)
        return seconds_of_run(run, PastMetrics.model_validate_json(json.dumps(self.metrics)))

    def seen_at(self, share: float) -> tuple[float, dict[Stage, StageProgress]]:
        """Wall clock, and what had been seen, when this share of the run's time had passed."""
        now_s = self.started_at_s + share * self.seconds
        return now_s, self.seen_by(now_s)

    def seen_by(self, now_s: float) -> dict[Stage, StageProgress]:
        """What had been seen at that moment of the wall clock."""
        seen: dict[Stage, StageProgress] = {}
        begun_s = self.started_at_s
        for stage in self.events:
            begun_s = self.begun_s.get(stage, begun_s)
            if begun_s > now_s:
                break
            events = [event for event in self.events[stage] if event.time_s <= now_s]
            ended_s = self.ended_s.get(stage, self.events[stage][-1].time_s)
            done = ended_s <= now_s
            idle = tuple(one for one in self.idle if (one.end_s or 0.0) <= now_s)
            seen[stage] = replay(stage, events, started_at_s=begun_s, ended_at_s=ended_s if done else None, idle=idle)
            if not done:
                break
            begun_s = ended_s
        return seen


def load_recorded_runs() -> dict[str, RecordedRun]:
    """By name: `quiet` and `loaded`, and those of `three_hours.py`."""
    return {path.stem: _load(path) for path in FOLDER.glob("*.json")}


def _load(path: Path) -> RecordedRun:
    content = json.loads(path.read_text())
    return RecordedRun(
        {key: content[key] for key in ("seconds", "finished_at", "stages_run")},
        {stage: [_event(line) for line in content[stage]] for stage in content["stages_run"]},
        content.get("begun_s", {}),
        content.get("ended_s", {}),
        tuple(Idle(*one) for one in content.get("idle", ())),
        {
            (stage, phase): seconds
            for stage, phases in content.get("guess_s", {}).items()
            for phase, seconds in phases.items()
        },
    )


def _event(line: dict[str, Any]) -> Event:
    event = parse_event(json.dumps(line).encode())
    assert event is not None
    return event
