"""When a queue works: until a time of day, above a charge of the battery."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sana_wm.errors import UsageError
from sana_wm.launcher.power import BATTERY_MARGIN_PERCENT, PowerReading, read_power


def next_time_of_day(text: str, now: datetime) -> datetime:
    """The next `HH:MM` on the local clock: tomorrow's when today's is over.

    Args:
        text: `07:00`.
        now: Local time.

    Raises:
        UsageError: It is no time of day.
    """
    try:
        wanted = datetime.strptime(text, "%H:%M").time()  # a time of day has no zone of its own
    except ValueError:
        raise UsageError(f"{text!r} is no time of day", expected="HH:MM, as 07:00 or 23:30") from None
    local = now.replace(tzinfo=None)
    day = local.date() if wanted > local.time() else local.date() + timedelta(days=1)
    return datetime.combine(day, wanted).astimezone()  # with the offset of that moment: summer time may begin at night


@dataclass(frozen=True)
class Hours:
    """When a queue works.

    Attributes:
        until_s: Wall clock after which no job starts or goes on; `None` has no end.
        min_battery_percent: On battery below this charge no job starts or goes on.
        clock: Wall clock in seconds.
        read: Reads the power; tests give their own.
    """

    until_s: float | None = None
    min_battery_percent: int | None = None
    clock: Callable[[], float] = time.time
    read: Callable[[], PowerReading] = read_power

    def why_over(self) -> str | None:
        """Why the queue is over for now, in words; `None` while it is not."""
        if self.until_s is None or self.clock() < self.until_s:
            return None
        return f"it is {datetime.fromtimestamp(self.until_s).astimezone():%H:%M} (--until)"

    def why_wait(self, *, waiting: bool) -> str | None:
        """Why no job may work now, in words; `None` while one may.

        Args:
            waiting: Whether none works already: then the charge must be above the limit by a margin.
        """
        limit = self.min_battery_percent
        if limit is None or (percent := self.read().battery_percent) is None:
            return None
        if percent >= limit + (BATTERY_MARGIN_PERCENT if waiting else 0):
            return None
        return f"the battery is at {percent:.0f} % (--min-battery {limit})"
