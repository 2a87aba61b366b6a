"""A run as it could start now: everything that a manifest or a run directory names, looked at once.

Every command that says whether a run can start shows the same `Prospect`; `sana_wm.launcher.start` carries it out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from sana_wm.backends import backend_of
from sana_wm.errors import (
    IncompleteWeightsError,
    ManifestError,
    Problem,
    RefusedRunError,
    SanaWMError,
    WeightsError,
)
from sana_wm.manifest.loading import read_manifest
from sana_wm.manifest.model import Manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import Stage
from sana_wm.pipeline import active_stages
from sana_wm.planning.history import History
from sana_wm.planning.plan import RunPlan, plan_over_cap, plan_run, require_fit
from sana_wm.preflight.checks import (
    current_weights,
    find_problems,
    known_device,
    list_warnings,
    resolve_manifest,
    settle_estimate,
    start_checks,
)
from sana_wm.preflight.finder import Finder
from sana_wm.preflight.numerics_gate import NumericsGate
from sana_wm.preflight.stage_range import require_range
from sana_wm.runs.decisions import StageDecision, decide, stages_to_run
from sana_wm.runs.prepare import check_receipts, compare
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.unfinished import refuse_others_work, versions_that_count
from sana_wm.weights.check import check_layout
from sana_wm.weights.empty_checkpoint import write_empty_checkpoint
from sana_wm.weights.facts import published_bytes
from sana_wm.weights.layout import WeightLayout
from sana_wm.weights.manifest_layout import locate_weights

Result = TypeVar("Result")


@dataclass(frozen=True)
class Choices:
    """What a command says besides a manifest.

    Attributes:
        force: Take over a run directory of another manifest.
        start_from: Run this stage and all that are made from its result, whatever is there.
        stop_after: Run none that comes later than this stage; where it is off because what it is looked at before is
            off too, the run goes to its end.
        accept_over_cap: Run although the plan does not fit the memory cap, with the least that can be planned.
        accept_numerics: Checks of the device's arithmetic that may fail.
        plan_all: Plan every stage of the manifest, those that are done as well.
        changes: Fields with another value than the manifest's: `{"memory.cap_gib": 64.0}`.
    """

    force: bool = False
    start_from: Stage | None = None
    stop_after: Stage | None = None
    accept_over_cap: bool = False
    accept_numerics: tuple[str, ...] = ()
    plan_all: bool = False
    changes: Mapping[str, object] = field(default_factory=dict[str, object])


#: For who says nothing besides the manifest.
NOTHING_ELSE = Choices()


@dataclass(frozen=True)
class Prospect:
    """A run as it could start now.

    Attributes:
        choices: What the command said.
        manifest: What was asked for; `None` when it cannot be read.
        errors: Everything that keeps it from starting, in the order in which it was looked at.
        run: Its directory; `None` while the manifest cannot be used.
        resolved: What would run; `None` while its inputs cannot be used.
        stored: The manifest that the run directory held, if this goes on with it.
        starting_over: Stages whose results would be deleted.
        decisions: What would happen to each stage.
        plan: What it would take; `None` when nothing can be planned.
        warnings: What runs and deserves a word.
    """

    choices: Choices
    manifest: Manifest | None
    errors: tuple[SanaWMError, ...] = ()
    run: RunDirectory | None = None
    resolved: RunManifest | None = None
    stored: RunManifest | None = None
    starting_over: tuple[Stage, ...] = ()
    decisions: tuple[StageDecision, ...] = ()
    plan: RunPlan | None = None
    warnings: tuple[str, ...] = ()

    @property
    def problems(self) -> list[Problem]:
        """Every error as findings, for lists."""
        return [problem for error in self.errors for problem in Problem.all_of(error)]

    def require(self) -> tuple[RunDirectory, RunManifest, RunPlan]:
        """What runs, where, and its plan.

        Raises:
            SanaWMError: It cannot start: the only reason, or all of them together with the first one's exit code.
        """
        if len(self.errors) > 1:
            raise RefusedRunError(self.problems, self.errors[0].exit_code)
        if self.errors:
            raise self.errors[0]
        if self.run is None or self.resolved is None or self.plan is None:
            raise LookupError("a run without an error has a directory, a manifest and a plan")
        return self.run, self.resolved, self.plan


def inspect(manifest_path: Path, environment: Mapping[str, str], choices: Choices = NOTHING_ELSE) -> Prospect:
    """Look at a manifest and all that it names.

    Args:
        manifest_path: JSON file.
        environment: For `${VAR}` and this user's folders.
        choices: What the command says besides.
    """
    found = Finder()
    reading = found.attempt(partial(read_manifest, manifest_path, environment))
    if reading is None or reading.manifest is None:
        problems = list(reading.problems) if reading is not None else []
        return Prospect(choices, None, tuple(found.errors or [ManifestError(problems)]))
    manifest = change_fields(reading.manifest, choices.changes)
    wrong = {problem.field for problem in reading.problems}
    settled, estimate, unsettled = settle_estimate(manifest)
    seen = [*unsettled, *find_problems(settled)] if not _concerns(wrong, "model.backend") else []
    problems = [*reading.problems, *(one for one in seen if not _concerns(wrong, one.field))]
    if problems:
        weight_problems = [] if _concerns(wrong, "model") else _weight_problems(manifest)
        error = ManifestError([*problems, *weight_problems])
        can_plan = not (weight_problems or reading.problems or any(one.field == "output_dir" for one in problems))
        return Prospect(choices, manifest, (error,), plan=_try_plan(manifest, environment) if can_plan else None)
    resolved = found.attempt(partial(resolve_manifest, settled, estimate))
    if resolved is None:
        return Prospect(choices, manifest, tuple(found.errors))
    run = RunDirectory(Path(resolved.output_dir))
    starting_over = found.attempt(partial(compare, run, resolved, force=choices.force))
    prospect = Prospect(
        choices,
        manifest,
        tuple(found.errors),
        run=run,
        resolved=resolved,
        starting_over=starting_over or (),
        warnings=(*(f"the manifest: {note}" for note in reading.notes), *list_warnings(settled, resolved)),
    )
    return prospect if starting_over is None else _look_ahead(prospect, run, resolved, environment)


def inspect_run(run: RunDirectory, environment: Mapping[str, str], choices: Choices = NOTHING_ELSE) -> Prospect:
    """Look at a run directory that shall go on; arguments as of `inspect`.

    Raises:
        HandoffError: It is no run directory.
    """
    stored = run.read_manifest()
    found = Finder()
    found.attempt(partial(check_receipts, run, stored))
    manifest = change_fields(stored, choices.changes)
    prospect = Prospect(choices, manifest, tuple(found.errors), run=run, resolved=manifest, stored=stored)
    return prospect if found.errors else _look_ahead(prospect, run, manifest, environment)


def _look_ahead(
    prospect: Prospect, run: RunDirectory, manifest: RunManifest, environment: Mapping[str, str]
) -> Prospect:
    """What would happen to each stage, whether those that run can, and what they take."""
    choices, found = prospect.choices, Finder()
    weights = found.attempt(partial(current_weights, manifest)) or []
    found.attempt(partial(require_range, manifest, choices.start_from, choices.stop_after))
    decisions = decide(run, manifest, weights, choices.start_from, choices.stop_after)
    stages = stages_to_run(decisions)
    for check in start_checks(run, manifest, stages):
        found.attempt(check)
    if any(isinstance(error, IncompleteWeightsError) for error in found.errors):  # it says what the same file is
        found.errors = [error for error in found.errors if not isinstance(error, WeightsError)]
    for stage in stages:
        if choices.start_from is None and stage not in prospect.starting_over:
            known = versions_that_count(backend_of(manifest), stage)
            found.attempt(partial(refuse_others_work, run, manifest, stage, weights, known))
    gate = NumericsGate.of_this_machine(environment, say=lambda _: None)
    found.attempt(partial(gate.check_kept, manifest.device, choices.accept_numerics))
    plan, warnings = None, list(prospect.warnings)
    if not any(isinstance(error, WeightsError | IncompleteWeightsError) for error in found.errors):
        planned = active_stages(manifest) if choices.plan_all else stages
        spared: set[tuple[Stage, str]] = {(one.stage, phase) for one in decisions for phase in one.spared_phases}
        plan_it = partial(_plan, environment=environment, stages=planned, run=run, spared=spared)
        plan = found.attempt(partial(plan_it, manifest))
        unfit = Finder()
        if plan is not None:
            unfit.attempt(partial(require_fit, plan))
        if unfit.errors and plan is not None and choices.accept_over_cap:
            tried = "it is tried all the same, with the least that can be planned"
            warnings += [f"{error.what}; {tried}" for error in unfit.errors]
            manifest = plan_over_cap(manifest, planned, plan.device)
            plan = found.attempt(partial(plan_it, manifest))
        else:
            found.errors += unfit.errors
    return replace(
        prospect,
        resolved=manifest,
        decisions=tuple(decisions),
        plan=plan,
        warnings=tuple(warnings),
        errors=(*prospect.errors, *found.errors),
    )


def plan_by_released_sizes(manifest: Manifest, environment: Mapping[str, str]) -> RunPlan:
    """The plan of a manifest on this machine, as if the released weights were there."""
    stages = active_stages(manifest)
    with tempfile.TemporaryDirectory() as folder:
        layout = write_empty_checkpoint(Path(folder), variant=manifest.model.variant)
        planned = _plan(manifest, environment=environment, stages=stages, layout=layout)
    weights_bytes = published_bytes(manifest.model.variant, manifest.model.layout, stages)
    return replace(planned, weights_bytes=weights_bytes, by_released_sizes=True)


def _plan(
    manifest: Manifest,
    *,
    environment: Mapping[str, str],
    stages: Sequence[Stage],
    layout: WeightLayout | None = None,
    run: RunDirectory | None = None,
    spared: Collection[tuple[Stage, str]] = (),
) -> RunPlan:
    """The plan of some stages on this machine; phases whose results another run has made take no time.

    Raises:
        ManifestError: The manifest's device cannot be used.
        WeightsError: A header or config cannot be read.
    """
    device, history = known_device(manifest), History.of_this_user(environment)
    plan = plan_run(manifest, stages, device, history, layout or locate_weights(manifest), run)
    # They must fit all the same: only their stage knows whether chip and libraries are those of the other run.
    phases = (
        replace(one, mode="taken over", seconds=0.0, measured=True)
        if one.used_bytes is not None and (one.stage, one.phase) in spared
        else one
        for one in plan.phases
    )
    return replace(plan, phases=tuple(phases))


def _try_plan(manifest: Manifest, environment: Mapping[str, str]) -> RunPlan | None:
    """The plan of a manifest whose inputs are wrong: what it would take can be said all the same."""
    return Finder().attempt(lambda: _plan(manifest, environment=environment, stages=active_stages(manifest)))


def _weight_problems(manifest: Manifest) -> list[Problem]:
    return check_layout(locate_weights(manifest), active_stages(manifest))


def change_fields(manifest: Result, changes: Mapping[str, object]) -> Result:
    """A manifest with other values in some fields."""
    for name, value in changes.items():
        section, _, key = name.partition(".")
        part = getattr(manifest, section).model_copy(update={key: value})
        manifest = manifest.model_copy(update={section: part})  # pyright: ignore[reportAttributeAccessIssue]
    return manifest


def _concerns(wrong: set[str], field_name: str) -> bool:
    """Whether something is known to be wrong with a field, or with what it is a part of."""
    return any(
        one == field_name or one.startswith(f"{field_name}.") or field_name.startswith(f"{one}.") for one in wrong
    )
