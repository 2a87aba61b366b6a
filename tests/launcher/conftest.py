"""Runs with fake stages; recorded runs: the events of tiny ones, on a quiet machine and beside other work."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fake_runs import CAP_GIB, beginning
from sana_wm.handoff.events import Event, parse_event, to_line
from sana_wm.handoff.half_done import begin
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.launcher.lock import owning
from sana_wm.launcher.past_runs import PastMetrics, seconds_of_run
from sana_wm.launcher.preflight import resolve_manifest
from sana_wm.launcher.prepare import prepare
from sana_wm.launcher.progress import StageProgress, replay
from sana_wm.manifest.loading import load_manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES, Stage

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
        for stage in STAGES:
            events = [event for event in self.events[stage] if event.time_s <= now_s]
            done = len(events) == len(self.events[stage])
            end_s = events[-1].time_s if done else None
            seen[stage] = replay(stage, events, started_at_s=begin_s, ended_at_s=end_s)
            if end_s is None:
                break
            begin_s = end_s
        return now_s, seen


@pytest.fixture(scope="session")
def recorded() -> dict[str, RecordedRun]:
    """By name: `quiet` and `loaded`."""
    return {path.stem: _load(path) for path in FOLDER.glob("*.json")}


def _load(path: Path) -> RecordedRun:
    content = json.loads(path.read_text())
    return RecordedRun(
        {key: content[key] for key in ("seconds", "finished_at", "stages_run")},
        {stage: [_event(line) for line in content[stage]] for stage in STAGES},
    )


def _event(line: dict[str, Any]) -> Event:
    event = parse_event(json.dumps(line).encode())
    assert event is not None
    return event


@pytest.fixture
def resolved(write_manifest: Callable[..., Path]) -> RunManifest:
    return resolve_manifest(load_manifest(write_manifest(memory__cap_gib=CAP_GIB), {}))


@pytest.fixture
def run(resolved: RunManifest) -> RunDirectory:
    directory = RunDirectory(Path(resolved.output_dir))
    with owning(directory):
        prepare(directory, resolved, force=False)
    return directory


@pytest.fixture
def half_done(run: RunDirectory, resolved: RunManifest) -> Path:
    """What stage 1 saved before it was interrupted."""
    begin(run, resolved, beginning(resolved))
    saved = run.checkpoint_folder("stage1") / "00003.safetensors"
    saved.write_text("three steps")
    return saved
