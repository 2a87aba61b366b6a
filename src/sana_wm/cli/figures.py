"""Figures as people read them."""

from __future__ import annotations

#: A range whose ends lie closer together than this share of its upper one is as good as a number.
EXACT = 0.2


def is_exact(low_s: float, high_s: float) -> bool:
    """Whether a range of times is as good as one number."""
    return high_s - low_s <= EXACT * high_s


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
