"""The shares of the cap follow from each other, and stand in one place."""

from __future__ import annotations

import re
from pathlib import Path

from sana_wm.planning import shares
from sana_wm.planning.shares import (
    AFTER_OUT_OF_MEMORY_SHARE,
    FORECAST_ERROR,
    LEANER_SHARE,
    PLANNED_SHARE,
    SOFT_SHARE,
)

SOURCES = Path(shares.__file__).parents[1]


def test_engines_plan_as_before() -> None:
    assert PLANNED_SHARE == 0.92  # another share cuts the work of every run another way


def test_a_forecast_within_its_bar_is_no_reason_to_ask_and_a_step_down_exceeds_it() -> None:
    assert PLANNED_SHARE / (1 - FORECAST_ERROR) <= SOFT_SHARE < 1
    assert LEANER_SHARE < 1 - FORECAST_ERROR
    assert AFTER_OUT_OF_MEMORY_SHARE <= LEANER_SHARE**2


def test_whoever_needs_a_share_of_memory_asks_here() -> None:
    share = re.compile(r"\b0\.\d+ \* (manifest|plan|forecaster|high|cap|budget)|(cap|budget)_(gib|bytes) \* 0\.")
    found = [path.name for path in SOURCES.rglob("*.py") if share.search(path.read_text())]
    assert found == []
