"""Runs of the streaming model at toy size. Stages run in this process, where a test is not about processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import draw_picture, tiny_manifest

from sana_wm.names import Stage
from sana_wm.pipeline import active_stages
from sana_wm.runs.run_directory import RunDirectory


def tiny_student(out: Path) -> dict[str, Any]:
    """Write the tiny student; returns a manifest's `model` section."""
    command = [sys.executable, "-m", "sana_wm.weights", "tiny", "--variant", "streaming", "--out", str(out)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def write_streaming_manifest(folder: Path, model: dict[str, Any], num_frames: int, **changes: Any) -> Path:
    """A manifest `FOLDER.json` for a run in FOLDER; changes are `section__field=value`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    data = tiny_manifest(draw_picture(folder.parent / "picture.png"), model)
    data["camera"]["action"] = "w-48,l-36"
    data["video"]["num_frames"] = num_frames
    data["stage1"] = {}
    data["output_dir"] = str(folder)
    for dotted, value in changes.items():
        section, _, name = dotted.partition("__")
        data.setdefault(section, {})[name] = value
    path = folder.with_name(f"{folder.name}.json")
    path.write_text(json.dumps(data))
    return path


def run_here(manifest: Path, stages: tuple[Stage, ...] | None = None) -> RunDirectory:
    """Run stages of a manifest in this process, by default all of its; returns the run."""
    from sana_wm.preflight.prospect import Choices, inspect
    from sana_wm.runs.prepare import prepare

    run, settled, _ = inspect(manifest, os.environ, Choices()).require()
    prepare(run, settled, force=False)
    for stage in active_stages(settled) if stages is None else stages:
        run_stage_here(run, stage)
    return run


def run_stage_here(run: RunDirectory, stage: Stage) -> None:
    """Run one stage of a run in this process."""
    from sana_wm.runtime.events import EventWriter
    from sana_wm.runtime.stopping import StopFlag
    from sana_wm.stages.__main__ import run_stage

    with _settings_of_a_stage():
        run_stage(stage, run, EventWriter(run.events_file(stage)), StopFlag())


@contextmanager
def _settings_of_a_stage() -> Iterator[None]:
    """What a stage sets in its process ends with it there."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
