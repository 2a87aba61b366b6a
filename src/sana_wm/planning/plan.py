"""What a run will take, before anything is loaded: memory of every phase, disk, time; and what would fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sana_wm.errors import MemoryCapError
from sana_wm.manifest.model import Manifest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import SAVING, STARTING, Stage
from sana_wm.planning.cap import settle_cap
from sana_wm.planning.device import Device
from sana_wm.planning.fit import Planners, largest_num_frames, smallest_budget_gib, smallest_cap_gib
from sana_wm.planning.forecast import RunForecaster
from sana_wm.planning.history import History, PhaseTime
from sana_wm.planning.past_runs import find_past_runs
from sana_wm.planning.phase import Planner
from sana_wm.planning.space import free_bytes_at, needed_by_volume
from sana_wm.planning.times import Times
from sana_wm.progress.eta import estimate
from sana_wm.runs.receipts import Receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.sizes import GIB
from sana_wm.weights.layout import WeightLayout
from sana_wm.weights.manifest_layout import locate_weights

UNLIMITED_BYTES = 2**60


@dataclass(frozen=True)
class PhasePlan:
    """One phase of a run.

    Attributes:
        stage: Its stage.
        phase: Its name.
        mode: How its engine will work; what is wrong when it does not fit.
        used_bytes: What will be held against the cap at the peak; `None` when it does not fit.
        seconds: How long it will take; `None` when it does not fit, unless runs of the same work say so.
        measured: Whether the time comes from this machine's own runs or benchmarks; otherwise it is a guess.
    """

    stage: Stage
    phase: str
    mode: str
    used_bytes: int | None
    seconds: float | None
    measured: bool


@dataclass(frozen=True)
class RunPlan:
    """A whole run.

    Attributes:
        device: Where.
        dtype: What is computed in.
        by_released_sizes: Whether the weights were not looked at: these are the released model's sizes.
        cap_bytes: What no stage may exceed.
        budget_bytes: What the engines plan with.
        phases: In order, with what each stage takes outside its phases as `starting`, or as `starting` and `saving`.
        weights_bytes: Files of weights that are read.
        disk_bytes: What the run takes at most on the volume of its directory.
        free_disk_bytes: What its disk has left.
        largest_num_frames: When it does not fit: the most frames that would.
        smallest_cap_gib: When it does not fit: the least cap under which it would.
    """

    device: Device
    dtype: str
    cap_bytes: int
    budget_bytes: int
    phases: tuple[PhasePlan, ...]
    weights_bytes: int
    disk_bytes: int
    free_disk_bytes: int
    largest_num_frames: int | None = None
    smallest_cap_gib: int | None = None
    by_released_sizes: bool = False

    @property
    def fits(self) -> bool:
        """Whether every phase fits its memory."""
        return all(phase.used_bytes is not None for phase in self.phases)

    @property
    def peak_bytes(self) -> int:
        """The highest peak of the phases that fit."""
        return max((phase.used_bytes or 0 for phase in self.phases), default=0)

    @property
    def seconds(self) -> float:
        """All phases together."""
        return sum(phase.seconds or 0.0 for phase in self.phases)

    @property
    def range_s(self) -> tuple[float, float]:
        """The least and the most that all phases may take together: as a run says before it has seen anything."""
        stages: tuple[Stage, ...] = tuple(dict.fromkeys(phase.stage for phase in self.phases))
        return estimate(stages, {}, self.expected_s, 0.0, self.guessed).range_s or (self.seconds, self.seconds)

    @property
    def is_measured(self) -> bool:
        """Whether all times come from this machine."""
        return all(phase.measured for phase in self.phases)

    @property
    def expected_s(self) -> dict[tuple[Stage, str], float]:
        """Seconds by stage and phase, where anything is known: what a run of this plan expects."""
        return {(phase.stage, phase.phase): phase.seconds for phase in self.phases if phase.seconds is not None}

    @property
    def guessed(self) -> frozenset[tuple[Stage, str]]:
        """Those of `expected_s` that nothing on this machine was measured for."""
        known = (phase for phase in self.phases if phase.seconds is not None)
        return frozenset((phase.stage, phase.phase) for phase in known if not phase.measured)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        derived = {
            "fits": self.fits,
            "peak_bytes": self.peak_bytes,
            "seconds": round(self.seconds, 1),
            "range_s": [round(seconds, 1) for seconds in self.range_s],
        }
        return {**derived, "is_measured": self.is_measured, **asdict(self)}


def plan_run(
    manifest: Manifest,
    stages: Sequence[Stage],
    device: Device,
    history: History,
    layout: WeightLayout | None = None,
    run: RunDirectory | None = None,
) -> RunPlan:
    """Plan the stages of a run that are to come: headers and configs are read, weights are not.

    Args:
        manifest: What shall run.
        stages: Which of its stages.
        device: Where; see `sana_wm.planning.this_device.find_device`.
        history: Times of this machine.
        layout: Weights to go by instead of the manifest's.
        run: Where the run lies, if that is not `output_dir`; runs of the same work are looked for beside it.

    Raises:
        WeightsError: A header or config cannot be read.
    """
    layout = layout or locate_weights(manifest)
    forecaster = RunForecaster(manifest, layout, device, tuple(stages))
    past = find_past_runs(run or RunDirectory(Path(manifest.output_dir)), settle_cap(manifest, device))
    times = Times(past, history, device, dtype_of(forecaster))
    return with_ways_out(plan_by(forecaster, forecaster.planners(), times), forecaster)


def plan_by(forecaster: RunForecaster, planners: Planners, times: Times) -> RunPlan:
    """Plan a run by whatever is known of its times; without what would make it fit.

    Args:
        forecaster: The run; its stages are planned.
        planners: Its own, or those of the same run on a device of the same kind.
        times: Of the place where it would run.
    """
    manifest, layout, stages = forecaster.manifest, forecaster.layout, forecaster.stages
    run_folder = Path(manifest.output_dir)
    phases: list[PhasePlan] = []
    for stage in stages:
        starting, saving = times.of_starting(stage), times.of_saving(stage)
        phases.append(PhasePlan(stage, STARTING, "Python, imports, hashes", 0, starting.seconds, starting.measured))
        phases += [
            _plan_phase(forecaster, times, planned_stage, phase, planner)
            for (planned_stage, phase), planner in planners.items()
            if planned_stage == stage
        ]
        if saving is not None:
            phases.append(PhasePlan(stage, SAVING, "hashes, files, the end", 0, saving.seconds, saving.measured))
    return RunPlan(
        device=forecaster.device,
        dtype=dtype_of(forecaster),
        cap_bytes=forecaster.cap_bytes,
        budget_bytes=forecaster.budget_bytes,
        phases=tuple(phases),
        weights_bytes=_weights_bytes(layout, stages),
        disk_bytes=needed_by_volume(run_folder, manifest, stages).get(run_folder, 0),
        free_disk_bytes=free_bytes_at(run_folder),
    )


def with_ways_out(plan: RunPlan, forecaster: RunForecaster) -> RunPlan:
    """A plan with what would make it fit, where it does not."""
    if plan.fits:
        return plan
    return replace(
        plan, largest_num_frames=largest_num_frames(forecaster), smallest_cap_gib=smallest_cap_gib(forecaster)
    )


def require_fit(plan: RunPlan) -> None:
    """Refuse a run that does not fit.

    Raises:
        MemoryCapError: A phase does not fit; the message says which, and the largest setting that would.
    """
    unfit = next((phase for phase in plan.phases if phase.used_bytes is None), None)
    if unfit is None:
        return
    device = plan.device
    raise MemoryCapError(
        f"the run will not fit: {unfit.stage}, {unfit.phase}: {unfit.mode}",
        got=f"a cap of {plan.cap_bytes / GIB:.1f} GiB on {device.name} with {device.memory_bytes / GIB:.1f} GiB",
        next_step=f"{what_would_fit(plan)} To try anyway: --accept-over-cap.",
    )


def plan_over_cap(manifest: RunManifest, stages: Sequence[Stage], device: Device) -> RunManifest:
    """The manifest with the least budget that its engines can plan with, for a run that shall be tried over its cap.

    The cap stays: a forecast may be too high, and the governor has the last word.

    Args:
        manifest: What shall run.
        stages: Those of its stages that are to come.
        device: Where.
    """
    budget_gib = smallest_budget_gib(RunForecaster(manifest, locate_weights(manifest), device, tuple(stages)))
    memory = manifest.memory.model_copy(update={"budget_gib": budget_gib})
    return manifest.model_copy(update={"memory": memory})


def what_would_fit(plan: RunPlan) -> str:
    """The settings that would make a plan fit, as a sentence."""
    ways: list[str] = []
    if plan.largest_num_frames is not None:
        ways.append(f"set video.num_frames to {plan.largest_num_frames}")
    if plan.smallest_cap_gib is not None:
        ways.append(f"raise memory.cap_gib to {plan.smallest_cap_gib}, if the machine has that much")
    return f"To make it fit, {', or '.join(ways)}." if ways else "No setting makes it fit this device."


def phase_times(manifest: Manifest, device: Device, receipt: Receipt) -> list[PhaseTime]:
    """The times of a finished stage, for the history: its phases, and what it took besides.

    Weights that are holes come from no disk, so such a run counts as a benchmark.

    Args:
        manifest: Of the run.
        device: Where it ran.
        receipt: Of a stage that one process did as a whole.
    """
    layout = locate_weights(manifest)
    source = "bench" if layout.has_empty_weights else "run"
    planners = RunForecaster(manifest, layout, device, (receipt.stage,)).planners()
    forecasts = {phase: planner(UNLIMITED_BYTES) for (_, phase), planner in planners.items()}
    # Without the times in which the machine slept or the run was suspended; the stage itself does not know of those.
    taken_s = {phase.name: phase.seconds for phase in receipt.phases} | {
        phase: seconds for phase, seconds in receipt.times_s.items() if phase in forecasts
    }
    times = [
        PhaseTime(device.name, receipt.dtype, receipt.stage, phase, work.tflop, seconds, source, work.parameters)
        for phase, seconds in taken_s.items()
        if (work := forecasts.get(phase)) is not None
    ]
    rest_s = max(0.0, receipt.seconds - sum(taken_s.values()))
    return [*times, PhaseTime(device.name, receipt.dtype, receipt.stage, STARTING, 0.0, round(rest_s, 3), source)]


def _plan_phase(forecaster: RunForecaster, times: Times, stage: Stage, phase: str, planner: Planner) -> PhasePlan:
    try:
        forecast = planner(forecaster.budget_bytes)
        used_bytes = forecaster.used_bytes(forecast)
        if used_bytes <= forecaster.cap_bytes:
            time = times.of_phase(forecast)
            return PhasePlan(stage, phase, forecast.mode, used_bytes, time.seconds, time.measured)
        reason = f"would take {used_bytes / GIB:.2f} GiB ({forecast.mode})"
    except MemoryCapError as error:
        reason = f"{error.what}: {error.got}, {error.expected}"
    ran = times.of_same_work(stage, phase)
    return PhasePlan(stage, phase, reason, None, ran and ran.seconds, measured=ran is not None)


def dtype_of(forecaster: RunForecaster) -> str:
    """What a run computes in."""
    return {4: "float32", 2: "bfloat16"}[forecaster.element_bytes]


def _weights_bytes(layout: WeightLayout, stages: Sequence[Stage]) -> int:
    """Size of the weight files that the run reads, each once."""
    shards = {shard for stage in stages for component in layout.of_stage(stage) for shard in component.shards}
    return sum(shard.stat().st_size for shard in shards)
