"""What the fake stages share: the arguments of a stage, events, a receipt. Each fake is a real process."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from sana_wm.backends import DIFFUSERS
from sana_wm.launcher.probes.process import process_bytes
from sana_wm.names import STAGES
from sana_wm.pipeline import source_of
from sana_wm.runs.receipts import PhaseRecord, Receipt, describe_outputs, stage_settings, write_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.unfinished import Beginning, begin, versions_that_count

STAGE = next(stage for stage in STAGES if stage == sys.argv[1])
RUN = RunDirectory(Path(sys.argv[2]))
CAP_BYTES = int(RUN.read_manifest().memory.cap_gib * 1024**3)
LIVENESS_FD = int(sys.argv[sys.argv.index("--liveness-fd") + 1])


def emit(event: str, **fields: object) -> None:
    path = RUN.events_file(STAGE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"time_s": time.time(), "event": event, **fields}) + "\n")


def save() -> None:
    """Leave something to go on from."""
    here = Beginning(
        stage=STAGE,
        source_sha256="",
        settings=stage_settings(RUN.read_manifest(), STAGE),
        weights=(),
        computed_by=versions_that_count(DIFFUSERS, STAGE),
    )
    begin(RUN, RUN.read_manifest(), here)
    (RUN.checkpoint_folder(STAGE) / "saved").write_text("yes")


def work_until_asked_to_stop() -> None:
    """Begin a phase and stay in it until SIGTERM comes.

    Blocked and waited for, not handled: Python would run a handler only after a sleep that began just before the
    signal came.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.alarm(120)  # when nobody asks
    emit("phase_start", phase="transformer")
    signal.sigwait({signal.SIGTERM})


def own_bytes() -> int:
    """What the governor would see of this process now."""
    return process_bytes(os.getpid()) or 0


def finish(device: str = "cpu", phases: tuple[PhaseRecord, ...] = ()) -> None:
    """Leave what the real stage would leave, with content that names the stage."""
    _, *outputs, _ = RUN.belongings(STAGE)
    for path in outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{STAGE} made {path.name}")
    inputs = {}
    if (source := source_of(RUN.read_manifest(), STAGE)) is not None:
        inputs = {key: file.sha256 for key, file in describe_outputs(RUN, (RUN.latents_file(source),)).items()}
    write_receipt(
        RUN,
        Receipt(
            stage=STAGE,
            package_version="0",
            versions={},
            device=device,
            dtype="float32",
            settings=stage_settings(RUN.read_manifest(), STAGE),
            weights=(),
            inputs=inputs,
            outputs=describe_outputs(RUN, tuple(outputs)),
            plan={},
            phases=phases,
            started_at="",
            finished_at="",
            seconds=0.0,
        ),
    )
    emit("done")
