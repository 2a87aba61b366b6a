"""When a queue works."""

from __future__ import annotations

from datetime import datetime

import pytest

from sana_wm.errors import UsageError
from sana_wm.launcher.power import PowerReading
from sana_wm.queue.hours import Hours, next_time_of_day


@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        ("2026-11-30 22:10", "07:00", "2026-12-01 07:00"),
        ("2026-11-30 06:59", "07:00", "2026-11-30 07:00"),
        ("2026-11-30 07:00", "07:00", "2026-12-01 07:00"),
        ("2026-12-31 23:59", "0:30", "2027-01-01 00:30"),
    ],
)
def test_a_time_of_day_is_the_next_one(now: str, text: str, expected: str) -> None:
    found = next_time_of_day(text, datetime.fromisoformat(now).astimezone())
    assert found == datetime.fromisoformat(expected).astimezone()


@pytest.mark.parametrize("text", ["7", "24:00", "07:60", "7 am", ""])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="HH:MM"):
        next_time_of_day(text, datetime.fromisoformat("2026-11-30 22:10").astimezone())


def test_the_queue_is_over_when_its_time_has_come() -> None:
    assert Hours(until_s=100.0, clock=lambda: 99.0).why_over() is None
    assert "--until" in (Hours(until_s=100.0, clock=lambda: 100.0).why_over() or "")
    assert Hours(clock=lambda: 1e9).why_over() is None


@pytest.mark.parametrize(
    ("percent", "waiting", "may_work"),
    [(30, False, True), (29, False, False), (34, True, False), (35, True, True), (None, False, True)],
)
def test_on_battery_no_job_works_below_the_limit(percent: float | None, waiting: bool, may_work: bool) -> None:
    hours = Hours(min_battery_percent=30, read=lambda: PowerReading(percent, None))
    assert (hours.why_wait(waiting=waiting) is None) == may_work


def test_without_a_limit_no_battery_is_asked() -> None:
    assert Hours(read=lambda: pytest.fail("was asked")).why_wait(waiting=False) is None
