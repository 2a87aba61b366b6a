"""The time left of a run in words, the same on every screen."""

from __future__ import annotations

from sana_wm.figures import format_seconds, is_exact
from sana_wm.progress.snapshot import RunSnapshot


def describe_time_left(snapshot: RunSnapshot) -> str:
    """How long a run still takes, and how far that is known; empty where it does not run."""
    if snapshot.state not in ("running", "stopping"):
        return ""
    if snapshot.remaining_s is None:
        return "time left not known yet"
    low_s, high_s = snapshot.remaining_low_s, snapshot.remaining_high_s
    if snapshot.not_counted:
        least = format_seconds(snapshot.remaining_s if low_s is None else low_s)
        return f"at least {least} left, without {' and '.join(snapshot.not_counted)}"
    if snapshot.guessed and low_s is not None and high_s is not None and not is_exact(low_s, high_s):
        return f"{format_seconds(low_s)} to {format_seconds(high_s)} left, a guess"
    guessed = ", in part guessed" if snapshot.guessed else ""
    return f"about {format_seconds(snapshot.remaining_s)} left{guessed}"
