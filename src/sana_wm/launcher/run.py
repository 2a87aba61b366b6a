"""A whole run in a prepared directory: each decided stage in turn, paused and accounted for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from sana_wm.durable import remove_file, remove_tree
from sana_wm.errors import (
    HandoffError,
    InterruptedRunError,
    MemoryNotReleasedError,
    SanaWMError,
    StageFailedError,
)
from sana_wm.launcher.governor import MemoryLimits
from sana_wm.launcher.power import PowerWatch, keep_awake_command
from sana_wm.launcher.process import StageProcess, stage_command, stage_environment
from sana_wm.launcher.supervisor import StopRequests, supervise
from sana_wm.launcher.view import View
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.pipeline import PIPELINE, stages_from
from sana_wm.planning.device import Device
from sana_wm.planning.history import History
from sana_wm.planning.plan import phase_times
from sana_wm.planning.space import check_space
from sana_wm.planning.suggestions import suggest_change
from sana_wm.preflight.checks import start_checks
from sana_wm.runs.decisions import StageDecision, stages_to_come, stages_to_run
from sana_wm.runs.links import damaged_outputs
from sana_wm.runs.links_refused import refuse_links
from sana_wm.runs.lock import Ownership
from sana_wm.runs.metrics import metrics_findings, write_metrics
from sana_wm.runs.receipts import (
    WORKSPACE_BYTES,
    Receipt,
    read_receipt,
    write_receipt,
)
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.unfinished import is_unfinished

#: How a stage is started; tests start stages of their own.
Command = Callable[[Stage, RunDirectory], list[str]]


def execute(
    run: RunDirectory,
    manifest: RunManifest,
    decisions: Sequence[StageDecision],
    *,
    environment: Mapping[str, str],
    view: View,
    start_from: Stage | None = None,
    command: Command = stage_command,
    lock: Ownership | None = None,
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
        SanaWMError: Something of `start_checks`, and nothing was touched; or a stage did not end well, and everything
            before it stays valid.
    """
    refuse_links(run.path)
    stages, is_whole = stages_to_run(decisions), not stages_to_come(decisions)
    if not stages:
        if is_whole and metrics_findings(run):  # they were damaged, or the run ended between its last receipt and them
            write_metrics(run, manifest, stages, view.stop_clock())
        return
    for check in start_checks(run, manifest, stages):
        check()
    run.remove_parts()
    remove_file(run.metrics_file)
    start = _Start(
        run,
        manifest,
        environment=stage_environment(environment, manifest.memory.cap_bytes),
        history=History.of_this_user(environment),
        view=view,
        command=command,
        lock=lock,
        say=say,
    )
    with start.stops.listening():
        for stage in stages:
            start.begin(stage, over=start_from is not None and stage in stages_from(start_from))
            start.run_to_its_end(stage)
    seconds = view.stop_clock()
    if is_whole:
        write_metrics(run, manifest, stages, seconds)


@dataclass(frozen=True)
class _Start:
    """One start of a run: what its stages share. Fields as the arguments of `execute`."""

    run: RunDirectory
    manifest: RunManifest
    environment: Mapping[str, str]
    history: History
    view: View
    command: Command
    lock: Ownership | None
    say: Callable[[str], None]
    stops: StopRequests = field(default_factory=StopRequests)

    def begin(self, stage: Stage, *, over: bool) -> None:
        """Make room for a stage: from here on it is not done."""
        run = self.run
        if self.stops.count:
            raise InterruptedRunError(f"stopped before stage {stage}", next_step=f"Go on with: {run.resume_command}")
        check_space(run, self.manifest, stage)
        if over:
            run.start_over(stage, lambda path: self.say(f"deleting {path}"))
        elif run.receipt_file(stage).exists():  # what it was made from is no beginning of what comes now
            remove_file(run.receipt_file(stage))
            remove_tree(run.checkpoint_folder(stage))

    def run_to_its_end(self, stage: Stage) -> None:
        """Run a stage, again after every pause, and remember how long it took if that was in one go."""
        while True:
            is_whole = not is_unfinished(self.run, stage)
            process = StageProcess(self.command(stage, self.run), self.run, stage, self.environment, self.lock)
            power = PowerWatch(self.manifest.power, keep_awake_command(process.pid), process.ask_to_stop, self.say)
            try:
                with power:
                    receipt, device = self._watch(process, stage)
                if is_whole and device is not None:
                    self.history.add(phase_times(self.manifest, device, receipt))
            except InterruptedRunError:
                if self.stops.count or power.reason is None:
                    raise
                self.view.paused(f"paused: {power.reason}")
                if not power.wait_until_fine(lambda: self.stops.count > 0):
                    raise
                self.view.went_on()
                self.say(f"{stage} goes on")
            except SanaWMError as error:
                if (before := PIPELINE[stage].looked_at_before) is not None:
                    self.say(
                        f"No stage needs the {stage}: go on without it with: {self.run.resume_command} --from {before}"
                    )
                if isinstance(error, HandoffError | StageFailedError):
                    check_space(self.run, self.manifest, stage, after=error)  # a full disk shows in many ways
                raise
            else:
                return

    def _watch(self, process: StageProcess, stage: Stage) -> tuple[Receipt, Device | None]:
        run = self.run
        limits = MemoryLimits(self.manifest.memory.cap_bytes)
        advise = partial(suggest_change, self.manifest, run)
        try:
            record, device = supervise(process, run, stage, limits, self.stops, self.view, advise)
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
        times_s = self.view.times_s(stage)
        seconds = round(sum(times_s.values()), 3)
        receipt = receipt.model_copy(update={"process": record, "times_s": times_s, "seconds": seconds})
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
    remove_file(run.receipt_file(receipt.stage))
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
