"""Figures as people read them: the same words wherever a number is shown."""

from __future__ import annotations

import math

#: Unit, its seconds, and up to how many of them a range is said in it.
UNITS = (("s", 1, 100), ("min", 60, 100), ("h", 3600, math.inf))
#: A range whose ends lie closer together than this share of its upper one is as good as a number.
EXACT = 0.2


def format_seconds(seconds: float) -> str:
    """`45 s`, `12 m 03 s`, `3 h 12 m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m"


def format_bytes(count: int) -> str:
    """`512 B`, `17.2 MB`, `37.75 GB`: decimal, as the hub and disks say it."""
    for unit, size in (("GB", 1000**3), ("MB", 1000**2), ("kB", 1000)):
        if count >= size:
            return f"{count / size:.2f} {unit}" if unit == "GB" else f"{count / size:.1f} {unit}"
    return f"{count} B"


def format_range(least_s: float, most_s: float) -> str:
    """`6 to 14 s`, `13 to 46 min`, `0.6 to 2.1 h`: two guesses in one unit, no more exact than guesses are."""
    unit, size_s = next((unit, size_s) for unit, size_s, most in UNITS if most_s < most * size_s)
    least, most = (
        f"{number:.1f}" if unit == "h" and number < 10 else f"{max(1, round(number))}"
        for number in (least_s / size_s, most_s / size_s)
    )
    return f"{most} {unit}" if least == most else f"{least} to {most} {unit}"


def is_exact(least_s: float, most_s: float) -> bool:
    """Whether a range of times is as good as one number."""
    return most_s - least_s <= EXACT * most_s
