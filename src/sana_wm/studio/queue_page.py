"""Queue: what comes next, in which order, and how long all of it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nicegui import run, ui

from sana_wm.figures import format_seconds
from sana_wm.queue.forecast import JobForecast, forecast, whole
from sana_wm.queue.requests import cancel, pause, reorder, retry
from sana_wm.studio.desk import LOOK_EVERY_S, Desk
from sana_wm.studio.layout import attempt, button, link, screen, text


def add_page(desk: Desk) -> None:
    """Add the screen."""

    @ui.page("/queue")
    async def queue() -> None:  # pyright: ignore[reportUnusedFunction]
        with screen("Queue", "/queue"):
            await QueuePage(desk).show()


class QueuePage:
    """The queue in one tab."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._queue = desk, desk.queue
        self._shown: object = None

    async def show(self) -> None:
        """Draw it, and again whenever something changed."""
        self._whole = text("").props('role="status"')
        self._buttons = ui.element("div").classes("line")
        self._jobs = ui.element("ol").classes("jobs").props('aria-label="Jobs in their order"')
        self._jobs.on("ordered", lambda event: self._order(str(event.args)), js_handler="(e) => emit(e.detail)")
        await self._look()
        ui.timer(LOOK_EVERY_S, self._look)

    async def _look(self) -> None:
        found = await run.io_bound(lambda: (forecast(self._queue, self._desk.environment), self._queue.is_worked()))
        if found is None:
            return
        forecasts, is_worked = found
        to_come = [one for one in forecasts if one.position is not None]
        self._whole.say(
            (f"{len(to_come)} to come: {whole(to_come).in_words()}" if to_come else "none to come")
            + ("; it is worked now" if is_worked else "; nobody works it")
        )
        now = (is_worked, [(one.job, _times(one)) for one in forecasts])
        if now == self._shown:
            return
        self._shown = now
        self._buttons.clear()
        with self._buttons:
            if is_worked:
                button("Pause now", lambda: self._do(lambda: pause(self._queue, "now")))
                button("Pause after this job", lambda: self._do(lambda: pause(self._queue, "after this job")))
            else:
                button("Work the queue", lambda: self._do(self._desk.work_queue), main=True)
        waiting = [one.job.number for one in forecasts if one.job.state == "waiting"]
        self._jobs.clear()
        with self._jobs:
            if not forecasts:
                text("Nothing waits.", "li")
            for one in forecasts:
                self._row(one, waiting)

    def _row(self, one: JobForecast, waiting: Sequence[int]) -> None:
        job = one.job
        row = ui.element("li").classes(job.state)
        if job.state == "waiting":
            row.props(f'draggable="true" data-job="{job.number}"')
        with row:
            with ui.element("div").classes("grow"):
                text(f"{job.number}. {job.name}", classes="name")
                text(f"{job.state}{_times(one)}", classes="state")
                if job.reason is not None:
                    text(job.reason, classes="bad" if job.state == "failed" else "quiet")
            if job.state == "waiting":
                place = waiting.index(job.number)
                for words, to in (("Earlier", place - 1), ("Later", place + 1)):
                    if 0 <= to < len(waiting):
                        button(words, lambda to=to: self._move(waiting, job.number, to)).props(
                            f'aria-label="{words}: job {job.number}"'
                        )
            if job.state == "failed":
                button("Retry", lambda: self._do(lambda: retry(self._queue, [job.number])))
            run_dir = Path(job.run_dir)
            if (job.state == "done" or one.snapshot is not None) and run_dir.is_relative_to(self._desk.runs):
                link("Look", "/run", name=self._desk.name_of(run_dir))
            button(
                "Cancel" if job.state != "done" else "Take out",
                lambda: self._do(lambda: cancel(self._queue, [job.number])),
            )

    async def _move(self, waiting: Sequence[int], number: int, to: int) -> None:
        rest = [one for one in waiting if one != number]
        await self._do(lambda: reorder(self._queue, [*rest[:to], number, *rest[to:]]))

    async def _order(self, numbers: str) -> None:
        words = numbers.split()
        if all(word.isdecimal() for word in words):
            await self._do(lambda: reorder(self._queue, list(map(int, words))))

    async def _do(self, act: Callable[[], object]) -> None:
        await attempt(act)
        self._shown = None
        await self._look()


def _times(one: JobForecast) -> str:
    if one.through_in_s is None:
        return ""
    return f", {'about ' if one.is_guess else ''}through in {format_seconds(one.through_in_s)}"
