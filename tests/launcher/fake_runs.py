"""Runs whose stages are fakes: real processes that do well, or fail in one way."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sana_wm.backends import DIFFUSERS
from sana_wm.launcher.run import execute
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.progress.stage_progress import StageProgress
from sana_wm.runs.decisions import decide
from sana_wm.runs.receipts import stage_settings
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.unfinished import Beginning, versions_that_count
from sana_wm.weights.manifest_layout import WeightFile

FAKES = Path(__file__).parent / "fake_stages"


CAP_GIB = 0.2


class SilentView:
    """Remembers which stages it was told of."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.phases: set[str] = set()
        self.asked_to_stop: list[str] = []
        self.asked_to_shrink: list[str] = []
        self.pauses: list[str] = []
        self.times: dict[Stage, dict[str, float]] = {}

    def stage_started(self, progress: StageProgress) -> None:
        self.started.append(progress.stage)

    def updated(self, progress: StageProgress) -> None:
        self.phases.add(progress.phase)

    def stage_asked_to_stop(self, progress: StageProgress, why: str | None) -> None:
        self.asked_to_stop.append(progress.stage)

    def stage_asked_to_shrink(self, progress: StageProgress, why: str) -> None:
        self.asked_to_shrink.append(why)

    def stage_ended(self, progress: StageProgress) -> None:
        progress.end(time.time())
        self.times[progress.stage] = progress.spent_s

    def paused(self, why: str) -> None:
        self.pauses.append(why)

    def went_on(self) -> None:
        self.pauses.append("went on")

    def slept(self, seconds: float) -> None:
        self.pauses.append(f"slept {seconds:.0f} s")

    def times_s(self, stage: Stage) -> dict[str, float]:
        return self.times[stage]

    def stop_clock(self) -> float:
        return sum(sum(times.values()) for times in self.times.values())


def fake(**by_stage: str) -> Callable[[Stage, RunDirectory], list[str]]:
    """Every stage is the good fake, except those named."""
    return lambda stage, run: [sys.executable, str(FAKES / f"{by_stage.get(stage, 'good')}.py"), stage, str(run.path)]


def go(run: RunDirectory, manifest: RunManifest, **by_stage: str) -> SilentView:
    view = SilentView()
    execute(run, manifest, decide(run, manifest, []), environment=os.environ, view=view, command=fake(**by_stage))
    return view


def actions(run: RunDirectory, manifest: RunManifest) -> list[str]:
    """Of the stages that the manifest runs."""
    return [decision.action for decision in decide(run, manifest, []) if decision.action != "off"]


def assert_resumable(run: RunDirectory, manifest: RunManifest) -> None:
    go(run, manifest)
    assert actions(run, manifest) == ["skip"] * 3


def beginning(manifest: RunManifest, **changes: Any) -> Beginning:
    """How stage 1 would be begun here."""
    return Beginning(
        stage="stage1",
        source_sha256="",
        settings=stage_settings(manifest, "stage1"),
        weights=(WEIGHTS,),
        computed_by=versions_that_count(DIFFUSERS, "stage1") | {"chip": "M1"},
    ).model_copy(update=changes)


WEIGHTS = WeightFile(component="transformer", file="dit.safetensors", size_bytes=5, identity_sha256="a")
