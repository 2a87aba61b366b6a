"""Starts what was looked at: takes the run directory, looks again at what can have changed, runs the stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from sana_wm.launcher.run import execute
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.pipeline import stages_from
from sana_wm.preflight.checks import current_weights
from sana_wm.preflight.numerics_gate import NumericsGate
from sana_wm.preflight.prospect import Prospect
from sana_wm.progress.earlier_starts import look_back
from sana_wm.progress.run_progress import Listener, RunProgress
from sana_wm.progress.run_record import RunStart
from sana_wm.runs.decisions import StageDecision, decide
from sana_wm.runs.inheritance import take_over
from sana_wm.runs.lock import owning
from sana_wm.runs.prepare import check_unchanged, prepare
from sana_wm.runs.run_directory import RunDirectory


@dataclass(frozen=True)
class Audience:
    """Who is told of a run.

    Attributes:
        listeners: Shown every change.
        say: Takes a line for people.
        decided: Told what happens to each stage, once the directory is owned.
        showing: Open while the stages run.
    """

    listeners: Sequence[Listener] = ()
    say: Callable[[str], None] = lambda _: None
    decided: Callable[[Sequence[StageDecision]], None] = lambda _: None
    showing: AbstractContextManager[object] = field(default_factory=nullcontext[None])


def start(prospect: Prospect, environment: Mapping[str, str], audience: Audience) -> None:
    """Run what a prospect says.

    Args:
        prospect: From `inspect` or `inspect_run`.
        environment: This process's environment.
        audience: Who is told.

    Raises:
        SanaWMError: The prospect had an error, something changed since it was made, or a stage did not end well;
            everything before it stays valid.
    """
    run, manifest, plan = prospect.require()
    choices = prospect.choices
    gate = NumericsGate.of_this_machine(environment, say=audience.say)
    gate.check(manifest.device, choices.accept_numerics)
    with owning(run) as lock:
        _take_over(prospect, run, manifest, lambda path: audience.say(f"deleting {path}"))
        weights = current_weights(manifest)
        take_over(run, manifest, weights, choices.start_from)
        decisions = decide(run, manifest, weights, choices.start_from, choices.stop_after)
        audience.decided(decisions)
        earlier = look_back(run, decisions, over=stages_from(choices.start_from) if choices.start_from else ())
        begun = RunStart.of(decisions, plan.expected_s, time.time(), plan.guessed, earlier)
        progress = RunProgress(run, manifest, begun, audience.listeners)
        with audience.showing, progress.reporting():
            execute(
                run,
                manifest,
                decisions,
                environment=environment,
                view=progress,
                start_from=choices.start_from,
                lock=lock,
                say=audience.say,
            )


def _take_over(prospect: Prospect, run: RunDirectory, manifest: RunManifest, say: Callable[[Path], None]) -> None:
    """Put the manifest into the directory, which is owned now; `say` takes what is about to be deleted."""
    if prospect.stored is None:
        prepare(run, manifest, force=prospect.choices.force, say=say)
        return
    check_unchanged(run, prospect.stored)
    if manifest != prospect.stored:
        run.write_manifest(manifest)
