"""How long? The one place that plan and run ask, so that both promise the same.

Runs of the same work know best, then phases of this machine scaled by their arithmetic, then a guess.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from statistics import median

from sana_wm.names import SAVING, STARTING, Stage
from sana_wm.pipeline import PIPELINE
from sana_wm.planning.device import Device
from sana_wm.planning.history import History
from sana_wm.planning.past_runs import PastRun
from sana_wm.planning.phase import PhaseForecast
from sana_wm.runs.metrics import name_processor

#: How many runs of the same work an expectation is made of.
NEWEST_RUNS = 5
#: TFLOP/s and GB/s of disk to guess by where this machine has no times yet. MPS: Stage 1 of a public port, 60 steps at
#: 321 frames in 2 h 44 min on an M3 Max; CUDA: Stage 1 on an H200 (reports/bench); CPU: two cores of a server.
GUESSED_TFLOPS = {"mps": 3.5, "cuda": 300.0, "cpu": 0.05}
GUESSED_DISK_GB_S = 2.0
GUESSED_STARTING_S = 6.0


@dataclass(frozen=True)
class Rates:
    """What times are guessed by where nothing was measured.

    Attributes:
        tflops: Arithmetic, TFLOP/s.
        disk_gb_s: Reading weights, GB/s.
        starting_s: Seconds that a stage takes outside its phases.
    """

    tflops: float
    disk_gb_s: float = GUESSED_DISK_GB_S
    starting_s: float = GUESSED_STARTING_S


@dataclass(frozen=True)
class Duration:
    """How long something will take, and whether that was measured on this machine; otherwise it is a guess."""

    seconds: float
    measured: bool


class Times:
    """What is known of how long the phases of one run take here.

    Args:
        past: Runs of the same work, newest first; those of other machines and devices do not count.
        history: Phases of this machine; `None` for another one.
        device: Where the run computes.
        dtype: What it computes in.
        rates: To guess by; those of the device's kind when left out.
    """

    def __init__(
        self,
        past: Iterable[PastRun],
        history: History | None,
        device: Device,
        dtype: str,
        rates: Rates | None = None,
    ) -> None:
        here = (one for one in past if one.was_on(device.kind, name_processor()))
        self._same_work = median_seconds(list(islice(here, NEWEST_RUNS)))
        self._history, self._device, self._dtype = history, device, dtype
        self._rates = rates or Rates(GUESSED_TFLOPS[device.kind])

    def of_same_work(self, stage: Stage, phase: str) -> Duration | None:
        """As runs of the same work took; `None` when there is none."""
        return _measured(self._same_work.get((one, phase)) for one in _stages_like(stage))

    def of_phase(self, forecast: PhaseForecast) -> Duration:
        """A phase, loading included."""
        if same_work := self.of_same_work(forecast.stage, forecast.phase):
            return same_work
        work = (forecast.phase, forecast.tflop, forecast.parameters)
        if scaled := self._of_history(forecast.stage, *work):
            return scaled
        computing_s = forecast.tflop / self._rates.tflops
        return Duration(max(computing_s, forecast.read_bytes / (self._rates.disk_gb_s * 1e9)), measured=False)

    def of_starting(self, stage: Stage) -> Duration:
        """Before a stage's first phase; where `of_saving` knows nothing, all that it takes outside its phases."""
        if same_work := self.of_same_work(stage, STARTING):
            return same_work
        return self._of_history(stage, STARTING, 0.0) or Duration(self._rates.starting_s, measured=False)

    def of_saving(self, stage: Stage) -> Duration | None:
        """Between and after a stage's phases; `None` where `of_starting` includes it."""
        return self.of_same_work(stage, SAVING)

    def _of_history(self, stage: Stage, phase: str, tflop: float, parameters: int = 0) -> Duration | None:
        if self._history is None:
            return None
        seconds = partial(self._history.seconds, self._device.name, self._dtype)
        return _measured(seconds(one, phase, tflop, parameters) for one in _stages_like(stage))


def _stages_like(stage: Stage) -> tuple[Stage, ...]:
    """A stage, and the one of the same work, if there is one: its times stand in for those that it has not yet."""
    like = PIPELINE[stage].timed_like
    return (stage,) if like is None else (stage, like)


def _measured(known: Iterable[float | None]) -> Duration | None:
    """The first time that is one."""
    return next((Duration(seconds, measured=True) for seconds in known if seconds is not None), None)


def median_seconds(runs: list[PastRun]) -> dict[tuple[Stage, str], float]:
    """The median of every phase over some runs: one of them may have shared the machine with something else."""
    keys = dict.fromkeys(key for run in runs for key in run.seconds)
    return {key: median(run.seconds[key] for run in runs if key in run.seconds) for key in keys}
