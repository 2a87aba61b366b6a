"""A snapshot of a run half way, for what shows it."""

from __future__ import annotations

import pytest

from sana_wm.progress.snapshot import MemoryUse, RunSnapshot, StageSnapshot


@pytest.fixture
def half_way() -> RunSnapshot:
    return RunSnapshot(
        run_dir="/runs/demo",
        name="demo",
        state="running",
        time_s=1000.0,
        elapsed_s=725.0,
        remaining_s=7801.0,
        not_counted=(),
        guessed=(),
        stages=(
            StageSnapshot("stage1", "done", 650.0, 700.0),
            StageSnapshot("refiner", "running", 75.0, 600.0),
            StageSnapshot("vae_decode", "to come", None, 300.0),
        ),
        stage="refiner",
        phase="transformer",
        step=4,
        total=14,
        seconds_per_step=21.3,
        phase_remaining_s=213.0,
        memory=MemoryUse(31 * 2**30, None, 31 * 2**30, 96 * 2**30),
        preview="/runs/demo/previews/0060.png",
    )
