"""What earlier runs took: read from the events, receipts and metrics that they left."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from sana_wm.errors import HandoffError
from sana_wm.handoff.events import Event, StageDone, read_events
from sana_wm.handoff.receipts import flatten
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.launcher.plan import PhasePlan, RunPlan
from sana_wm.launcher.progress import replay
from sana_wm.manifest.model import Manifest
from sana_wm.names import Stage, stage_named

#: Manifest fields that decide how much work a run is; runs that agree in them take the same time on one machine.
WORK_FIELDS = (
    "model.",
    "video.num_frames",
    "video.height",
    "video.width",
    "stage1.num_inference_steps",
    "stage1.guidance_scale",
    "refiner.enabled",
    "refiner.mode",
    "refiner.sink_size",
    "refiner.block_size",
    "refiner.kv_max_frames",
    "memory.",
    "device",
    "dtype",
)

#: How many runs an expectation is made of.
NEWEST_RUNS = 5


@dataclass(frozen=True)
class PastRun:
    """A finished run of the same work.

    Attributes:
        path: Its directory.
        seconds: By stage and phase, starts and gaps included; phases that an interruption cut are left out.
    """

    path: Path
    seconds: dict[tuple[Stage, str], float]


def find_past_runs(run: RunDirectory, manifest: Manifest) -> list[PastRun]:
    """Finished runs of the same work in this run directory and in its neighbours, oldest first."""
    wanted = work_fields(manifest)
    found: list[tuple[str, PastRun]] = []
    for metrics_file in run.path.parent.glob("*/metrics.json"):
        other = RunDirectory(metrics_file.parent)
        try:
            metrics = json.loads(metrics_file.read_text(encoding="utf-8"))
            if work_fields(other.read_manifest()) == wanted and (seconds := seconds_of_run(other, metrics)):
                found.append((str(metrics["finished_at"]), PastRun(other.path, seconds)))
        except (HandoffError, OSError, ValueError, KeyError, TypeError):
            continue  # somebody else's folder, or a damaged one: no history
    return [past for _, past in sorted(found, key=lambda item: item[0])]


def expected_seconds(past: list[PastRun]) -> dict[tuple[Stage, str], float]:
    """The median of every phase over the newest runs: one of them may have shared the machine with something else."""
    newest = past[-NEWEST_RUNS:]
    keys = dict.fromkeys(key for run in newest for key in run.seconds)
    return {key: median(run.seconds[key] for run in newest if key in run.seconds) for key in keys}


def expect(plan: RunPlan, past: list[PastRun]) -> tuple[dict[tuple[Stage, str], float], frozenset[tuple[Stage, str]]]:
    """What a run will take: as earlier runs of the same work did, and what they do not say, as planned.

    Returns:
        Seconds by stage and phase, and those of them that are guesses: nothing like them ran on this machine.
    """
    measured = expected_seconds(past)
    planned: dict[tuple[Stage, str], PhasePlan] = {(phase.stage, phase.phase): phase for phase in plan.phases}
    guesses = {key: phase.seconds for key, phase in planned.items() if phase.seconds is not None}
    guessed = frozenset(key for key in guesses if not planned[key].measured and key not in measured)
    return guesses | measured, guessed


def work_fields(manifest: Manifest) -> dict[str, Any]:
    """The manifest fields that decide how much work a run is, flat."""
    flat = flatten(manifest.model_dump(mode="json"))
    return {name: value for name, value in flat.items() if name.startswith(WORK_FIELDS)}


def seconds_of_run(run: RunDirectory, metrics: dict[str, Any]) -> dict[tuple[Stage, str], float]:
    """Seconds by stage and phase of the stages that a directory's last start ran.

    A stage's events begin when it has imported everything. What the whole run took besides is that, and the end of
    each process, in equal shares: all stages import much the same.

    Args:
        run: A finished run.
        metrics: Its `metrics.json`.
    """
    stages: list[Stage] = [stage for name in metrics["stages_run"] if (stage := stage_named(name)) is not None]
    events: dict[Stage, list[Event]] = {
        stage: found for stage in stages if (found := read_events(run.events_file(stage)))
    }
    finished_s = datetime.fromisoformat(metrics["finished_at"]).timestamp()
    if len(events) < len(stages) or any(not _is_of(found, finished_s) for found in events.values()):
        return {}  # a later start, unfinished, has written over them
    if not stages:
        return {}
    covered_s = sum(found[-1].time_s - found[0].time_s for found in events.values())
    unseen_s = max(0.0, metrics["seconds"] - covered_s) / len(stages)
    seconds: dict[tuple[Stage, str], float] = {}
    for stage, found in events.items():
        begin_s, end_s = found[0].time_s, found[-1].time_s
        progress = replay(stage, found, started_at_s=begin_s - unseen_s, ended_at_s=end_s)
        seconds |= {
            (stage, phase): spent_s for phase, spent_s in progress.spent_s.items() if phase not in progress.partly_done
        }
    return seconds


def _is_of(events: list[Event], finished_s: float) -> bool:
    """Whether a stage ended before a run did; the run's end is known to the second."""
    return isinstance(events[-1], StageDone) and events[-1].time_s < finished_s + 1
