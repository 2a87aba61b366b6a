"""A whole run: prepare the directory, decide, run each stage in turn, account for it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from sana_wm.durable import part_path, remove_parts_under, remove_tree
from sana_wm.errors import (
    HandoffError,
    IncompleteWeightsError,
    InterruptedRunError,
    MemoryNotReleasedError,
    StageFailedError,
)
from sana_wm.handoff.chain import changed_settings, damaged_outputs, require_inputs
from sana_wm.handoff.half_done import is_half_done
from sana_wm.handoff.receipts import (
    WORKSPACE_BYTES,
    Receipt,
    changed_fields,
    read_receipt,
    stage_settings,
    write_receipt,
)
from sana_wm.handoff.run_directory import RunDirectory
from sana_wm.launcher.decisions import StageDecision, stages_to_run
from sana_wm.launcher.governor import MemoryLimits
from sana_wm.launcher.history import History
from sana_wm.launcher.metrics import metrics_findings, write_metrics
from sana_wm.launcher.plan import phase_times
from sana_wm.launcher.power import PowerWatch, keep_awake_command
from sana_wm.launcher.process import StageProcess, stage_command, stage_environment
from sana_wm.launcher.remedies import remedy
from sana_wm.launcher.space import check_space
from sana_wm.launcher.supervisor import StopRequests, View, supervise
from sana_wm.manifest.model import RunManifest
from sana_wm.names import STAGES, Stage
from sana_wm.planning.device import Device
from sana_wm.video.encoder import check_codec
from sana_wm.weights.check import check_layout
from sana_wm.weights.manifest_layout import locate_weights

#: How a stage is started; tests start stages of their own.
Command = Callable[[Stage, RunDirectory], list[str]]


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
    if not run.manifest_file.exists() and not run.holds_results():
        present = run.path.iterdir() if run.path.is_dir() else ()
        half_written = part_path(run.manifest_file).name
        if foreign := sorted(path.name for path in present if not path.name.startswith((".", half_written))):
            raise HandoffError(
                f"{run.path} is not empty and is no run directory",
                got=", ".join(foreign[:5]),
                expected="a new or empty folder",
                next_step="Choose another output_dir.",
            )
        return ()
    try:
        before = run.read_manifest()
        changes = {
            stage: changed_fields(stage_settings(before, stage), stage_settings(manifest, stage)) for stage in STAGES
        }
    except HandoffError:
        if not force:
            raise
        changes = {stage: _changes_since_receipt(run, manifest, stage) for stage in STAGES}
    if any(changes.values()) and not force:
        raise HandoffError(
            f"{run.path} holds a run of another manifest",
            got="; ".join(sorted({change for words in changes.values() for change in words})),
            expected="the same manifest",
            next_step="Choose another output_dir, or add --force: stages whose settings differ start over.",
        )
    first_changed = next((index for index, stage in enumerate(STAGES) if changes[stage]), len(STAGES))
    return STAGES[first_changed:]


def _changes_since_receipt(run: RunDirectory, manifest: RunManifest, stage: Stage) -> list[str]:
    """What a manifest changes of a finished stage; parts of an unfinished one say themselves what they are of."""
    try:
        receipt = read_receipt(run, stage)
    except HandoffError:
        return []  # reported, and the stage run again, where it is decided
    return changed_settings(receipt, manifest) if receipt is not None else []


def check_receipts(run: RunDirectory, manifest: RunManifest) -> None:
    """Before a run goes on: whether its manifest is the one that its finished stages ran under.

    Raises:
        HandoffError: It is another run's.
    """
    changes = {stage: _changes_since_receipt(run, manifest, stage) for stage in STAGES}
    if foreign := [stage for stage in STAGES if changes[stage]]:
        raise HandoffError(
            f"{run.manifest_file} is not the manifest that {', '.join(foreign)} ran under",
            got="; ".join(sorted({change for words in changes.values() for change in words})),
            expected="the manifest of this run",
            next_step="Run the manifest that you want with run-pipeline; --force starts over the stages that differ.",
        )


def check_unchanged(run: RunDirectory, stored: RunManifest) -> None:
    """Once the directory is owned: whether its manifest is still the one that was read before.

    Raises:
        HandoffError: Another command has changed it meanwhile, or changed what it made.
    """
    if run.read_manifest() != stored:
        raise HandoffError(
            f"{run.manifest_file} was changed by another command while this one began",
            got="other settings",
            expected="the manifest that this command had read",
            next_step=f"Look at it with: sana-wm status {shlex.quote(str(run.path))}; then {run.resume_command}",
        )
    check_receipts(run, stored)


def check_start(run: RunDirectory, manifest: RunManifest, stages: Sequence[Stage]) -> None:
    """All that must hold before anything of an earlier result is touched.

    Raises:
        IncompleteWeightsError: Weights of these stages are missing or damaged.
        HandoffError: An input file is not the run's, or there is too little space for the first of them.
        UsageError: ffmpeg cannot write the video.
    """
    if problems := check_layout(locate_weights(manifest), stages):
        raise IncompleteWeightsError(problems)
    for stage in stages:
        require_inputs(manifest, stage)
    if "vae_decode" in stages:
        check_codec(manifest.video.codec)
    check_space(run, manifest, stages[0])


def prepare(run: RunDirectory, manifest: RunManifest, *, force: bool) -> list[Path]:
    """Put the manifest into the run directory; stages that must start over lose what they left.

    Returns:
        What was deleted.

    Raises:
        HandoffError: As in `compare`; or the directory cannot be written, or a link in it leads out of it.
    """
    run.refuse_links_out()
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
    start_from: Stage | None = None,
    command: Command = stage_command,
    lock: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Run every stage that was decided to run; the caller owns the directory.

    Args:
        run: The run directory.
        manifest: What runs.
        decisions: From `decide`.
        environment: This process's environment.
        view: Shows the run.
        start_from: This stage and those after it use nothing again of what they left before.
        command: How a stage is started.
        lock: From `owning`; stages inherit it.
        say: Takes a line for the user: that the machine slept, that the run pauses.

    Raises:
        SanaWMError: Something of `check_start`, and nothing was touched; or a stage did not end well, and everything
            before it stays valid.
    """
    run.refuse_links_out()
    stages = stages_to_run(decisions)
    if not stages:
        if metrics_findings(run):  # they were damaged, or the run ended between its last receipt and them
            write_metrics(run, manifest, stages, 0.0)
        return
    check_start(run, manifest, stages)
    remove_parts_under(run.path)
    run.metrics_file.unlink(missing_ok=True)
    child_environment = stage_environment(environment, manifest.memory.cap_bytes)
    history = History.of_this_user(environment)
    stops = StopRequests()
    started_s = time.monotonic()
    with stops.listening():
        for stage in stages:
            if stops.count:
                raise InterruptedRunError(
                    f"stopped before stage {stage}", next_step=f"Go on with: {run.resume_command}"
                )
            check_space(run, manifest, stage)
            if start_from is not None and STAGES.index(stage) >= STAGES.index(start_from):
                run.start_over(stage)
            elif run.receipt_file(stage).exists():  # what it was made from is no beginning of what comes now
                run.receipt_file(stage).unlink()
                remove_tree(run.checkpoint_folder(stage))
            while True:
                is_whole = not is_half_done(run, stage)
                process = StageProcess(command(stage, run), run, stage, child_environment, lock)
                power = PowerWatch(manifest.power, keep_awake_command(process.pid), process.ask_to_stop, say)
                try:
                    with power:
                        receipt, device = _watch_stage(process, run, manifest, stage, stops, view)
                    if is_whole and device is not None:
                        history.add(phase_times(manifest, device, receipt))
                    break
                except (HandoffError, StageFailedError) as error:
                    check_space(run, manifest, stage, after=error)  # a full disk shows in many ways, and is one reason
                    raise
                except InterruptedRunError:
                    if stops.count or power.reason is None or not power.wait_until_fine(lambda: stops.count > 0):
                        raise
                    say(f"{stage} goes on")
    write_metrics(run, manifest, stages, time.monotonic() - started_s)


def _watch_stage(
    process: StageProcess, run: RunDirectory, manifest: RunManifest, stage: Stage, stops: StopRequests, view: View
) -> tuple[Receipt, Device | None]:
    limits = MemoryLimits(manifest.memory.cap_bytes)
    try:
        record, device = supervise(process, run, stage, limits, stops, view, partial(remedy, manifest, run))
    finally:
        process.kill()
        process.close()
    receipt = read_receipt(run, stage)
    if receipt is None:
        raise StageFailedError(
            f"stage {stage} ended without a receipt",
            next_step=f"Read {run.log_file(stage)}; then go on with: {run.resume_command}",
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
            next_step=f"Check the disk; then run it again with: {run.resume_command}",
        )
    raise MemoryNotReleasedError(
        f"stage {receipt.stage} ended with a receipt that breaks the memory contract",
        got=f"bytes left per phase {phases} on {receipt.device}",
        expected="0 after every phase",
        next_step="This is a bug in sana-wm: please report it with the stage's log.",
    )
