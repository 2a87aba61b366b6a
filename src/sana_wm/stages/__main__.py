"""`python -m sana_wm.stages STAGE RUN_DIR`: one stage in a process of its own; its exit code says how it went."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TextIO, cast

import torch

from sana_wm.errors import MemoryCapError, SanaWMError, as_refusal
from sana_wm.held import holding
from sana_wm.names import STAGES, Stage
from sana_wm.planning.forecast import RunForecaster
from sana_wm.planning.shares import AFTER_OUT_OF_MEMORY_SHARE
from sana_wm.records import as_unicode
from sana_wm.runs.events import DeviceFacts, StageFailed, StageStart, now_s
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runtime.device import (
    describe_device,
    is_out_of_memory,
    select_device,
    select_dtype,
)
from sana_wm.runtime.device_faults import FaultWatch
from sana_wm.runtime.events import EventWriter
from sana_wm.runtime.log import LogStream
from sana_wm.runtime.memory import TorchMemory
from sana_wm.runtime.phases import PhaseLog
from sana_wm.runtime.stopping import StopFlag
from sana_wm.sizes import GIB
from sana_wm.stages.context import StageContext
from sana_wm.weights.manifest_layout import identify_weights, locate_weights


def main() -> int:
    """Run the stage named on the command line; returns its exit code (docs/exit-codes.md)."""
    parser = argparse.ArgumentParser(prog="python -m sana_wm.stages", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--liveness-fd", type=int, help="read end of a pipe that ends with the parent")
    parser.add_argument("--run-fd", type=int, help="the run directory, open: the one that the parent has locked")
    arguments = parser.parse_args()
    stage = cast("Stage", arguments.stage)
    run = RunDirectory(arguments.run_dir.resolve())
    sys.stderr = sys.stdout = cast("TextIO", LogStream(sys.stderr))
    stop = StopFlag()
    stop.listen(arguments.liveness_fd)
    events = None
    try:
        with holding(run.path, arguments.run_fd):
            events = EventWriter(run.events_file(stage))
            run_stage(stage, run, events, stop)
    except SanaWMError as error:
        return report(events, error)
    except OSError as error:
        if (refusal := as_refusal(error)) is None:
            raise
        return report(events, refusal)
    return 0


def run_stage(stage: Stage, run: RunDirectory, events: EventWriter, stop: StopFlag) -> None:
    """Set up what a stage needs and run it."""
    manifest = run.read_manifest()
    device = select_device(manifest.device)
    memory = TorchMemory(device.type)
    device_limit_bytes = memory.limit(manifest.memory.cap_bytes)
    # Bit-identical resume needs kernels that add in the same order every time.
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    # Left on, it would write every new buffer twice. (A property that the module adds to itself.)
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    layout = locate_weights(manifest)
    forecaster = RunForecaster(manifest, layout, describe_device(device))
    context = StageContext(
        stage=stage,
        run=run,
        manifest=manifest,
        device=device,
        dtype=select_dtype(manifest.dtype, device),
        events=events,
        stop=stop,
        phases=PhaseLog(memory, events, FaultWatch(run.log_file(stage))),
        layout=layout,
        weights=identify_weights(layout, stage),
        forecaster=forecaster,
    )
    events.emit(
        StageStart(
            time_s=now_s(),
            stage=stage,
            device=str(device),
            dtype=str(context.dtype),
            device_facts=DeviceFacts(**asdict(forecaster.device)),
            device_limit_bytes=device_limit_bytes,
        )
    )
    context.engine_memory.limit(manifest.memory.cap_bytes)
    events.report_device_memory(memory, context.engine_memory)
    run_phases = cast("Callable[[StageContext], None]", import_module(f"sana_wm.stages.{stage}").run)
    try:
        with torch.inference_mode():
            run_phases(context)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        less_gib = AFTER_OUT_OF_MEMORY_SHARE * forecaster.budget_bytes / GIB
        raise MemoryCapError(
            f"stage {stage} ran out of memory in phase {context.phases.running}",
            got=(str(error).splitlines() or ["MemoryError"])[0],
            expected=f"at most {manifest.memory.cap_gib} GiB (memory.cap_gib)",
            next_step=f"What was done is saved. Go on with a smaller working set: {run.resume_command} "
            f"--budget-gib {less_gib:.2f}; `sana-wm plan` says what fits.",
        ) from error


def report(events: EventWriter | None, error: SanaWMError) -> int:
    """Leave an error in the events, for the parent, and in the log, for people."""
    with contextlib.suppress(OSError):  # the disk may be what failed
        if events is not None:
            kind = type(error).__name__
            events.emit(
                StageFailed(time_s=now_s(), kind=kind, message=as_unicode(str(error)), exit_code=error.exit_code)
            )
    sys.stderr.write(f"{type(error).__name__}: {error}\n")
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
