"""The queue in two tabs: both show what its files say, and neither is surprised by what the other did."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sana_wm.queue.folder import Queue
from sana_wm.queue.job import Expectation, JobOptions


@pytest.fixture
def queue(studio: Any) -> Queue:
    """Three jobs that wait."""
    queue = Queue(studio.runs / "queue")
    with queue.changing():
        for job in queue.jobs():
            queue.remove(job)
        for name in ("road", "lake", "street"):
            queue.new_job(name, str(studio.runs / name), json.dumps({}), Expectation(60.0), JobOptions())
    return queue


def in_order(queue: Queue) -> list[str]:
    return [job.name for job in queue.jobs()]


def test_jobs_are_dragged_and_moved_by_keys(studio: Any, open_tab: Callable[..., Any], queue: Queue) -> None:
    tab = open_tab(studio, "/queue", width=400)
    page = tab.page
    jobs = page.locator(".jobs li")
    page.get_by_text("3 to come: 3 m 00 s; nobody works it").wait_for()
    jobs.nth(2).drag_to(jobs.nth(0))
    jobs.nth(0).get_by_text("street").wait_for()
    assert in_order(queue) == ["street", "road", "lake"]
    page.get_by_role("button", name="Later: job ").first.focus()
    page.keyboard.press("Enter")
    jobs.nth(0).get_by_text("road").wait_for()
    assert in_order(queue) == ["road", "street", "lake"]
    assert tab.axe() == []
    assert tab.complaints == []


def test_what_one_tab_takes_out_goes_in_the_other(studio: Any, open_tab: Callable[..., Any], queue: Queue) -> None:
    first, second = open_tab(studio, "/queue"), open_tab(studio, "/queue")
    for tab in (first, second):
        tab.page.locator(".jobs li").nth(2).wait_for()
    gone = queue.jobs()[0]
    first.page.locator(".jobs li").first.get_by_role("button", name="Cancel").click()
    first.page.locator(".jobs li").nth(2).wait_for(state="detached")
    assert gone.name not in in_order(queue)
    second.page.locator(".jobs li").nth(2).wait_for(state="detached")  # it looks again by itself
    assert in_order(queue) == ["lake", "street"]
    assert first.complaints == second.complaints == []


def test_what_somebody_else_took_out_a_moment_ago_is_said(
    studio: Any, open_tab: Callable[..., Any], queue: Queue
) -> None:
    page = open_tab(studio, "/queue").page
    page.locator(".jobs li").nth(2).wait_for()
    page.get_by_role("button", name="Work the queue").wait_for()
    with queue.changing():  # the page has to wait, and finds the job gone
        page.locator(".jobs li").first.get_by_role("button", name="Cancel").click()
        page.wait_for_timeout(300)
        queue.remove(queue.jobs()[0])
    page.locator(".q-notification").get_by_text("no job ").wait_for()
    assert in_order(queue) == ["lake", "street"]
