"""A whole run: prepare the directory, decide, run each stage in turn, account for it."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import socket
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sana_wm import __version__
from sana_wm.durable import remove_parts_under, write_durably
from sana_wm.errors import (
    HandoffError,
    IncompleteWeightsError,
    InterruptedRunError,
    MemoryNotReleasedError,
    RunDirectoryBusyError,
    StageFailedError,
)
from sana_wm.handoff.receipts import (
    WORKSPACE_BYTES,
    Receipt,
    changed_fields,
    damaged_outputs,
    read_receipt,
    stage_settings,
    write_receipt,
)
from sana_wm.handoff.run_directory import STAGES, RunDirectory, Stage
from sana_wm.launcher.decisions import StageDecision
from sana_wm.launcher.governor import MemoryLimits
from sana_wm.launcher.history import History
from sana_wm.launcher.plan import phase_times
from sana_wm.launcher.process import StageProcess, stage_command, stage_environment
from sana_wm.launcher.remedies import remedy
from sana_wm.launcher.supervisor import StopRequests, View, supervise
from sana_wm.manifest.model import RunManifest
from sana_wm.planning.device import Device
from sana_wm.weights.check import check_layout
from sana_wm.weights.manifest_layout import locate_weights

#: How a stage is started; tests start stages of their own.
Command = Callable[[Stage, RunDirectory], list[str]]


@contextmanager
def owning(run: RunDirectory) -> Generator[int]:
    """Own the run directory: an operating system lock that nobody who is gone can hold.

    Yields:
        The lock's file descriptor. Stages inherit it, so that a stage that outlives its parent keeps the directory.

    Raises:
        RunDirectoryBusyError: Another process owns it.
        HandoffError: It cannot be made or written.
    """
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(run.lock_file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unwritable(run, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(owner).encode(), 0)
        yield lock
    except BlockingIOError:
        raise RunDirectoryBusyError(
            f"{run.path} is in use",
            got=_read_owner(run),
            expected="no running sana-wm in this directory",
            next_step="Wait for it (a stage without its parent ends after its step), or choose another output_dir.",
        ) from None
    finally:
        os.close(lock)


def compare(run: RunDirectory, manifest: RunManifest, *, force: bool) -> tuple[Stage, ...]:
    """Hold a manifest against what the run directory holds; touches nothing.

    Args:
        run: The directory, new or of an earlier run.
        manifest: What shall run.
        force: Take over a directory of another manifest.

    Returns:
        The stages whose results the directory holds and that must start over.

    Raises:
        HandoffError: The directory holds another run, or something else, and `force` is off.
    """
    if not run.manifest_file.exists():
        present = run.path.iterdir() if run.path.is_dir() else ()
        if foreign := sorted(path.name for path in present if not path.name.startswith(".")):
            raise HandoffError(
                f"{run.path} is not empty and is no run directory",
                got=", ".join(foreign[:5]),
                expected="a new or empty folder",
                next_step="Choose another output_dir.",
            )
        return ()
    try:
        before = run.read_manifest()
    except HandoffError:
        if force:
            return STAGES
        raise
    changes = {
        stage: changed_fields(stage_settings(before, stage), stage_settings(manifest, stage)) for stage in STAGES
    }
    if any(changes.values()) and not force:
        raise HandoffError(
            f"{run.path} holds a run of another manifest",
            got="; ".join(sorted({change for words in changes.values() for change in words})),
            expected="the same manifest",
            next_step="Choose another output_dir, or add --force: stages whose settings differ start over.",
        )
    first_changed = next((index for index, stage in enumerate(STAGES) if changes[stage]), len(STAGES))
    return STAGES[first_changed:]


def prepare(run: RunDirectory, manifest: RunManifest, *, force: bool) -> list[Path]:
    """Put the manifest into the run directory; stages that must start over lose what they left.

    Returns:
        What was deleted.

    Raises:
        HandoffError: As in `compare`; or the directory cannot be written.
    """
    deleted = [path for stage in compare(run, manifest, force=force) for path in run.clear_stage(stage)]
    run.write_manifest(manifest)
    return deleted


def execute(
    run: RunDirectory,
    manifest: RunManifest,
    decisions: Sequence[StageDecision],
    *,
    environment: Mapping[str, str],
    view: View,
    start_over: bool = False,
    command: Command = stage_command,
    lock: int | None = None,
) -> None:
    """Run every stage that was decided to run; the caller owns the directory.

    Args:
        run: The run directory.
        manifest: What runs.
        decisions: From `decide`.
        environment: This process's environment.
        view: Shows the run.
        start_over: Take away what the stages left before, parts that they would use again included.
        command: How a stage is started.
        lock: From `owning`; stages inherit it.

    Raises:
        IncompleteWeightsError: Weights of a stage that shall run are missing or damaged; nothing was touched.
        SanaWMError: A stage did not end well; everything before it stays valid.
    """
    stages: list[Stage] = [decision.stage for decision in decisions if decision.action == "run"]
    if not stages:
        return
    if problems := check_layout(locate_weights(manifest), stages):
        raise IncompleteWeightsError(problems)
    remove_parts_under(run.path)
    cap_bytes = int(manifest.memory.cap_gib * 1024**3)
    child_environment = stage_environment(environment, cap_bytes)
    history = History.of_this_user(environment)
    stops = StopRequests()
    started_s = time.monotonic()
    with stops.listening():
        for stage in stages:
            if stops.count:
                raise InterruptedRunError(
                    f"stopped before stage {stage}", next_step=f"Go on with: sana-wm resume {run.path}"
                )
            if start_over:
                run.clear_stage(stage, kept_parts=True)
            run.receipt_file(stage).unlink(missing_ok=True)
            is_whole = not any(run.checkpoint_folder(stage).glob("*"))
            process = StageProcess(command(stage, run), run, stage, child_environment, lock)
            receipt, device = _watch_stage(process, run, manifest, stage, stops, view)
            if is_whole and device is not None:
                history.add(phase_times(manifest, device, receipt))
    _write_metrics(run, manifest, stages, time.monotonic() - started_s)


def _watch_stage(
    process: StageProcess, run: RunDirectory, manifest: RunManifest, stage: Stage, stops: StopRequests, view: View
) -> tuple[Receipt, Device | None]:
    limits = MemoryLimits(int(manifest.memory.cap_gib * 1024**3))
    try:
        record, device = supervise(process, run, stage, limits, stops, view, partial(remedy, manifest, run))
    finally:
        process.kill()
        process.close()
    receipt = read_receipt(run, stage)
    if receipt is None:
        raise StageFailedError(
            f"stage {stage} ended without a receipt",
            next_step=f"Read {run.log_file(stage)}; then go on with: sana-wm resume {run.path}",
        )
    _check_receipt(run, receipt)
    receipt = receipt.model_copy(update={"process": record})
    write_receipt(run, receipt)
    return receipt, device


def _check_receipt(run: RunDirectory, receipt: Receipt) -> None:
    """Hold what a stage says of itself against the memory contract and against what it left.

    Raises:
        MemoryNotReleasedError: A phase left device memory, or the stage does not say what its phases left.
        HandoffError: An output is not the one that the receipt names.
    """
    phases = {phase.name: phase.after_release_bytes for phase in receipt.phases}
    left = {name: size for name, size in phases.items() if (size or 0) > WORKSPACE_BYTES}
    silent = receipt.device != "cpu" and (not phases or None in phases.values())
    findings = damaged_outputs(run, receipt)
    if not (left or silent or findings):
        return
    # Not trusted, so not to be found by the next resume.
    run.receipt_file(receipt.stage).unlink()
    if findings:
        raise HandoffError(
            f"stage {receipt.stage} left other files than its receipt says",
            got="; ".join(findings),
            next_step=f"Check the disk; then run it again with: sana-wm resume {run.path}",
        )
    raise MemoryNotReleasedError(
        f"stage {receipt.stage} ended with a receipt that breaks the memory contract",
        got=f"bytes left per phase {phases} on {receipt.device}",
        expected="0 after every phase",
        next_step="This is a bug in sana-wm: please report it with the stage's log.",
    )


def _write_metrics(run: RunDirectory, manifest: RunManifest, stages: list[Stage], seconds: float) -> None:
    receipts = [receipt for stage in STAGES if (receipt := read_receipt(run, stage)) is not None]
    metrics = {
        "name": manifest.name,
        "package_version": __version__,
        "machine": {"system": platform.platform(), "processor": platform.processor() or platform.machine()},
        "finished_at": _now(),
        "seconds": round(seconds, 3),
        "stages_run": stages,
        "memory_cap_gib": manifest.memory.cap_gib,
        "stages": [_figures(receipt) for receipt in receipts],
    }
    write_durably(run.metrics_file, json.dumps(metrics, indent=2) + "\n")


def _figures(receipt: Receipt) -> dict[str, object]:
    """One line of the table: a stage, its peaks, and what was there after it was unloaded."""
    process = receipt.process
    peaks = [phase.peak_device_bytes for phase in receipt.phases]
    if process is not None:
        peaks.append(process.peak_device_bytes)
    left = [phase.after_release_bytes for phase in receipt.phases]
    return {
        "stage": receipt.stage,
        "seconds": receipt.seconds,
        "device": receipt.device,
        "dtype": receipt.dtype,
        "peak_process_bytes": process and process.peak_process_bytes,
        "after_unload_process_bytes": process and process.after_exit_bytes,
        "peak_device_bytes": max((peak for peak in peaks if peak is not None), default=None),
        "after_unload_device_bytes": max((rest for rest in left if rest is not None), default=None),
        "system_available_bytes_before_and_after": process and process.system_available_bytes,
        "cards_used_bytes_before_and_after": process and process.cards_used_bytes,
        "phases": [phase.model_dump() for phase in receipt.phases],
        "plan": receipt.plan,
    }


def _read_owner(run: RunDirectory) -> str:
    try:
        owner = json.loads(run.lock_file.read_text(encoding="utf-8"))
        return f"pid {owner['pid']} on {owner['host']}, since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "an owner that has not said who it is"


def _unwritable(run: RunDirectory, error: OSError) -> HandoffError:
    return HandoffError(
        f"{run.path} cannot be written",
        got=error.strerror or str(error),
        expected="a folder that you may write to",
        next_step="Choose another output_dir.",
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
