"""What would fit: searches over a run's settings by the engines' own rules."""

from __future__ import annotations

from sana_wm.errors import MemoryCapError
from sana_wm.planning.forecast import PhaseForecast, RunForecaster

FRAMES_PER_LATENT = 8
LARGEST_CAP_GIB = 1024


def forecast_phases(forecaster: RunForecaster) -> list[PhaseForecast]:
    """Every phase of the run within its budget.

    Raises:
        MemoryCapError: A phase does not fit.
    """
    return [plan(forecaster.budget_bytes) for _, _, plan in forecaster.planners()]


def fits(forecaster: RunForecaster) -> bool:
    """Whether every phase fits the budget."""
    try:
        forecast_phases(forecaster)
    except MemoryCapError:
        return False
    return True


def largest_num_frames(forecaster: RunForecaster) -> int | None:
    """The most frames, up to the manifest's, that fit the budget; `None` when not even the shortest video does."""
    fewest = 1 + FRAMES_PER_LATENT * forecaster.manifest.refiner.sink_size
    low, high = 0, (forecaster.manifest.video.num_frames - fewest) // FRAMES_PER_LATENT
    if high < 0 or not fits(forecaster.with_num_frames(fewest)):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        if fits(forecaster.with_num_frames(fewest + FRAMES_PER_LATENT * middle)):
            low = middle
        else:
            high = middle - 1
    return fewest + FRAMES_PER_LATENT * low


def smallest_cap_gib(forecaster: RunForecaster) -> int | None:
    """The least whole cap under which every phase fits; `None` when the device itself is too small."""
    low, high = 1, LARGEST_CAP_GIB
    if not fits(forecaster.with_cap_gib(high)):
        return None
    while low < high:
        middle = (low + high) // 2
        if fits(forecaster.with_cap_gib(middle)):
            high = middle
        else:
            low = middle + 1
    return low
