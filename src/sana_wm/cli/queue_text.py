"""A queue as people and programs read it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sana_wm.figures import format_seconds, is_exact
from sana_wm.queue.folder import Queue
from sana_wm.queue.forecast import JobForecast, whole
from sana_wm.queue.job import Expectation
from sana_wm.runs.lock import Owner


def describe_queue(queue: Queue, forecasts: Sequence[JobForecast], owner: Owner | None) -> list[str]:
    """The jobs as a table, with a line for the whole.

    Args:
        queue: The queue.
        forecasts: Its jobs.
        owner: Its runner, if one works it.
    """
    if not forecasts:
        return [f"no jobs in {queue.path}; add some with: sana-wm queue add MANIFEST"]
    now = datetime.now().astimezone()
    lines = [f"{'job':>4}  {'state':<8} {'time left':<12} {'through at':<11} name"]
    for one in forecasts:
        job = one.job
        own = "" if one.left.seconds is None else _about(one.left.seconds, is_guess=one.left.is_guess)
        through = "" if one.through_in_s is None else _moment(now, one.through_in_s, is_guess=one.is_guess)
        own, through = (text or ("?" if one.position else "") for text in (own, through))
        lines.append(f"{job.number:>4}  {job.state:<8} {own:<12} {through:<11} {job.name}")
        if job.reason is not None:
            first, *more = job.reason.splitlines()
            lines += [f"{'':<6}{first}", *(f"{'':<6}{line}" for line in more)]
    return [*lines, "", _describe_whole(forecasts, owner, now)]


def queue_as_json(queue: Queue, forecasts: Sequence[JobForecast], owner: Owner | None) -> dict[str, Any]:
    """The same for programs; times left in seconds."""
    left = whole(forecasts)
    jobs = [
        {
            **one.job.model_dump(mode="json", exclude={"turn"}),
            "position": one.position,
            **_left_as_json(one.left),
            "through_in_s": one.through_in_s,
            "is_guess": one.is_guess,
            "run": None if one.snapshot is None else one.snapshot.as_json(),
        }
        for one in forecasts
    ]
    return {
        "queue": str(queue.path),
        "runner": None if owner is None else {"pid": owner.pid, "host": owner.host, "since": owner.since},
        **_left_as_json(left),
        "is_guess": left.is_guess,
        "jobs": jobs,
    }


def _describe_whole(forecasts: Sequence[JobForecast], owner: Owner | None, now: datetime) -> str:
    to_come = [one for one in forecasts if one.position is not None]
    who = f"worked by {owner}" if owner is not None else "nobody works it: sana-wm queue run"
    if not to_come:
        return f"nothing waits; {who}"
    left, unknown = whole(forecasts), sum(one.left.seconds is None for one in to_come)
    but = f" and {unknown} of which nothing is known" if unknown else ""
    if left.is_guess and left.range_s is not None and not is_exact(*left.range_s):
        when = " to ".join(_moment(now, in_s, is_guess=False) for in_s in left.range_s)
    else:
        when = _moment(now, left.seconds or 0.0, is_guess=left.is_guess)
    started = "" if owner is not None else "started now, "
    return f"{len(to_come)} to come: {left.in_words()}{but} ({started}{when}); {who}"


def _left_as_json(left: Expectation) -> dict[str, float | None]:
    low_s, high_s = left.range_s or (left.seconds, left.seconds)
    told = {"remaining_s": left.seconds, "remaining_low_s": low_s, "remaining_high_s": high_s}
    return {name: None if seconds is None else round(seconds, 1) for name, seconds in told.items()}


def _about(seconds: float, *, is_guess: bool) -> str:
    return f"{'~' if is_guess else ''}{format_seconds(seconds)}"


def _moment(now: datetime, in_s: float, *, is_guess: bool) -> str:
    """On the clock, with the day when it is another."""
    moment = now + timedelta(seconds=in_s)
    mark = "~" if is_guess else ""
    return f"{mark}{moment:%H:%M}" if moment.date() == now.date() else f"{mark}{moment:%a %H:%M}"
