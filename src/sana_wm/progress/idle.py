"""Times in which a run did not work although it was under way: asleep, suspended, paused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sana_wm.records import WallClock


class Idle(NamedTuple):
    """From when to when, on the wall clock; `end_s` is `None` while it lasts."""

    begin_s: WallClock
    end_s: WallClock | None = None


def worked_s(begin_s: float, end_s: float, idle: Sequence[Idle]) -> float:
    """Seconds between two moments of the wall clock without those in which nothing ran.

    Args:
        begin_s: From here on.
        end_s: To here; a clock that was set back makes no negative time.
        idle: May overlap: a machine may fall asleep while its run pauses.
    """
    seconds, reached_s = end_s - begin_s, begin_s
    for one in sorted(idle, key=lambda one: one.begin_s):
        until_s = end_s if one.end_s is None else min(one.end_s, end_s)
        seconds -= max(0.0, until_s - max(one.begin_s, reached_s))
        reached_s = max(reached_s, until_s)
    return max(0.0, seconds)
