"""What would fit: searches over a run's settings by the engines' own rules."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping

from sana_wm.errors import MemoryCapError
from sana_wm.names import Stage
from sana_wm.planning.forecast import RunForecaster
from sana_wm.planning.phase import PhaseForecast, Planner
from sana_wm.sizes import FRAMES_PER_LATENT

#: Where a search ends: twice the memory of the largest Mac, 512 GB.
LARGEST_CAP_GIB = 1024

Planners = Mapping[tuple[Stage, str], Planner]


def forecast_phases(forecaster: RunForecaster, planners: Planners | None = None) -> list[PhaseForecast]:
    """Every phase of the run within its budget.

    Args:
        forecaster: The run.
        planners: Those of the same run under whatever cap, so that a search reads the headers once.

    Raises:
        MemoryCapError: A phase does not fit.
    """
    return [plan(forecaster.budget_bytes) for plan in (planners or forecaster.planners()).values()]


def fits(forecaster: RunForecaster, planners: Planners | None = None) -> bool:
    """Whether every phase fits the budget, and what it will use the cap; arguments as in `forecast_phases`."""
    try:
        phases = forecast_phases(forecaster, planners)
    except MemoryCapError:
        return False
    return all(forecaster.used_bytes(phase) <= forecaster.cap_bytes for phase in phases)


def largest_num_frames(forecaster: RunForecaster) -> int | None:
    """The most frames, up to the manifest's, that fit the budget; `None` when not even the shortest video does."""
    shortest = forecaster.manifest.refiner.sink_size
    longest = (forecaster.manifest.video.num_frames - 1) // FRAMES_PER_LATENT
    too_long = _first(
        lambda steps: not fits(forecaster.with_num_frames(1 + FRAMES_PER_LATENT * steps)), shortest, longest
    )
    steps = longest if too_long is None else too_long - 1
    return 1 + FRAMES_PER_LATENT * steps if steps >= shortest else None


def smallest_cap_gib(forecaster: RunForecaster) -> int | None:
    """The least whole cap under which every phase fits; `None` when the device itself is too small."""
    planners = forecaster.planners()
    return _first(lambda cap_gib: fits(forecaster.with_cap_gib(cap_gib), planners), 1, LARGEST_CAP_GIB)


def smallest_budget_gib(forecaster: RunForecaster) -> float | None:
    """The least budget, to a hundredth, with which every phase can be planned, whatever the cap; `None` above 1 TiB."""
    planners = forecaster.planners()

    def can_be_planned(hundredths: int) -> bool:
        try:
            forecast_phases(forecaster.with_budget_gib(hundredths / 100), planners)
        except MemoryCapError:
            return False
        return True

    hundredths = _first(can_be_planned, 1, 100 * LARGEST_CAP_GIB)
    return None if hundredths is None else hundredths / 100


def _first(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """The least number for which something holds that holds for all above it; `None` when it does for none."""
    number = bisect.bisect_left(range(low, high + 1), x=True, key=holds) + low
    return number if number <= high else None
