"""Figures as people read them."""

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
