"""A page that comes and goes while a run goes on, and one that twenty tabs look at: minutes, so they are long."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from sana_wm.catalogue.folder import read_catalogue
from sana_wm.progress.status import StatusReader
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.runs.verify import verify

pytestmark = pytest.mark.long

STARTS = 50
TABS = 20
RUN_S = 900
IDLE_S = 20
MOST_BYTES = 300 * 1024**2
MOST_SHARE = 0.05


def of_this_folder(folder: Path) -> list[psutil.Process]:
    """Processes that work in a folder."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_fifty_starts_and_kills_lose_no_run_and_leave_no_process(
    make_workplace: Callable[[], Path], start_studio: Callable[..., Any], open_tab: Callable[..., Any]
) -> None:
    folder = make_workplace()
    with start_studio(folder) as studio:
        page = open_tab(studio, "/new").page
        page.set_input_files("input[type=file]", studio.folder / "road.png")
        page.get_by_text("road.png, ").wait_for()
        page.get_by_label("Prompt").fill("A road.")
        page.get_by_label("Size").fill("160x96")
        page.get_by_label("Preset").select_option("standard")
        page.get_by_role("button", name="Start", exact=True).click()
        page.wait_for_url("**/run?name=road_standard")
        page.get_by_text("stage1 running").wait_for(timeout=RUN_S * 1000)
        os.killpg(studio.process.pid, signal.SIGKILL)  # the run was begun by this very process
        studio.process.wait()
    run = RunDirectory(folder / "runs" / "road_standard")
    assert StatusReader(run).look().state == "running"
    for number in range(STARTS):
        with start_studio(folder) as studio:
            if number % 2:
                os.killpg(studio.process.pid, signal.SIGKILL)
                studio.process.wait()
            else:
                assert studio.stop() == 0
    deadline = time.monotonic() + RUN_S
    while StatusReader(run).look().state == "running" and time.monotonic() < deadline:
        time.sleep(1)
    assert [entry.state for entry in read_catalogue(folder / "runs").entries] == ["finished"]
    assert all(link.is_whole for link in verify(run))
    assert of_this_folder(folder) == []


def test_twenty_tabs_cost_next_to_nothing(
    make_workplace: Callable[[], Path],
    copy_run: Callable[[Path], Path],
    start_studio: Callable[..., Any],
    open_tab: Callable[..., Any],
) -> None:
    folder = make_workplace()
    for number in range(10):
        copy_run(folder / "runs" / f"road-{number}")
    with start_studio(folder) as studio:
        screens = ["/", "/run?name=road-1", "/queue", "/new", "/compare", "/branch?name=road-2"]
        tabs = [open_tab(studio, screens[number % len(screens)]) for number in range(TABS)]
        tabs[0].page.wait_for_timeout(3000)
        process = psutil.Process(studio.process.pid)
        before = sum(process.cpu_times()[:2])
        tabs[0].page.wait_for_timeout(IDLE_S * 1000)
        share = (sum(process.cpu_times()[:2]) - before) / IDLE_S
        measured = {"tabs": TABS, "runs": 10, "cpu_share": round(share, 4), "rss_bytes": process.memory_info().rss}
        print(json.dumps(measured))
        assert [tab.complaints for tab in tabs if tab.complaints] == []
        assert measured["rss_bytes"] < MOST_BYTES
        assert share < MOST_SHARE
