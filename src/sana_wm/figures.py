"""Figures as people read them: the same words wherever a number is shown."""

from __future__ import annotations


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
