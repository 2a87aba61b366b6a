"""The whole loop in a browser, as somebody would go through it: minutes, so it is long."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long

#: A whole run of the tiny checkpoint, on whatever machine.
RUN_MS = 900_000
DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name));
  const zone = document.querySelector("[data-upload]");
  for (const kind of ["dragover", "drop"])
    zone.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
}"""
PLAYS = (
    "(place) => { const one = document.querySelectorAll('main video')[place]; one.muted = true; return one.play(); }"
)


class Tourist:
    """Goes from screen to screen; each is looked at as it is left.

    Args:
        tab: The browser's.
        album: Where pictures of the screens go.
    """

    def __init__(self, tab: Any, root: str, album: Path) -> None:
        self.tab, self.page, self._root, self._album = tab, tab.page, root, album
        self.page.set_default_timeout(120_000)
        self.findings: dict[str, list[str]] = {}

    def go(self, path: str) -> None:
        self.page.goto(self._root + path)
        self.page.wait_for_function("window.socket && window.socket.connected")

    def drop(self, picture: Path) -> None:
        self.page.evaluate(DROP, [picture.name, base64.b64encode(picture.read_bytes()).decode()])
        self.page.get_by_text(f"{picture.name}, ").wait_for()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def move(self, name: str, seconds: float, place: int = 1) -> None:
        self.press(name)
        self.page.get_by_label(f"Seconds of move {place}, {name}").fill(f"{seconds:g}")

    def say(self, prompt: str) -> None:
        self.page.get_by_label("Prompt").fill(prompt)
        self.page.get_by_label("Size").fill("160x96")

    def plays(self, place: int = 0) -> None:
        """A video really goes on."""
        self.page.locator("main video").nth(place).wait_for()
        self.page.evaluate(PLAYS, place)
        self.page.wait_for_function(
            "(place) => document.querySelectorAll('main video')[place].currentTime > 0.1", arg=place
        )

    def look(self, name: str) -> None:
        self.page.screenshot(path=self._album / f"{name}.png", full_page=True)
        self.findings[name] = self.tab.axe()


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Where pictures of screens go: a folder that is named, to be looked at, or one that goes."""
    folder = Path(os.environ.get("SANA_WM_STUDIO_ALBUM", tmp_path / "album"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def make_a_first_video(tourist: Tourist, phone: Path) -> None:
    """Of a picture that is dropped, to an MP4 that plays."""
    page = tourist.page
    tourist.drop(phone)
    tourist.say("A quiet road in the evening.")
    tourist.move("push-in", 0.5)
    tourist.move("pan-left", 0.5, 2)
    page.get_by_text("memory: ").wait_for()
    tourist.press("Preview the camera")
    tourist.plays()
    tourist.look("new-video")
    tourist.press("Start")
    page.wait_for_url("**/run?name=phone_draft")
    page.locator(".strip img").first.wait_for(timeout=RUN_MS)  # what a step made, while the run goes on
    tourist.look("running")
    page.get_by_text("finished, ").wait_for(timeout=RUN_MS)
    tourist.plays()
    tourist.press("Show the log")
    page.locator(".log").first.wait_for()
    tourist.look("finished")


def promote_and_branch(tourist: Tourist) -> None:
    """The same in full, and another way from a frame of it: both in the queue."""
    page = tourist.page
    tourist.press("Promote in the queue")
    page.get_by_text("1 added to the queue").wait_for()
    page.get_by_role("link", name="Go another way from a frame of it").click()
    page.get_by_label("Frame of the video").fill("8")
    page.get_by_text("frame 8 of 16").wait_for()
    tourist.move("truck-left", 0.5)
    tourist.press("Preview the camera")
    tourist.plays(1)
    tourist.look("branch")
    tourist.press("Branch in the queue")
    page.get_by_text("1 added to the queue").wait_for()


def add_one_that_will_fail(tourist: Tourist, studio: Any) -> None:
    """Its picture goes away before its turn comes."""
    tourist.go("/new")
    tourist.drop(studio.folder / "road.png")
    tourist.say("A road.")
    tourist.move("push-in", 0.5)
    tourist.page.get_by_text("memory: ").wait_for()
    tourist.press("Add to the queue")
    tourist.page.get_by_text("1 added to the queue").wait_for()
    (lost,) = (studio.runs / ".studio" / "pictures").glob("*/road.png")
    lost.unlink()


def work_the_queue(tourist: Tourist) -> None:
    """The last one is dragged to the front, and fails; the others are made all the same."""
    page = tourist.page
    tourist.go("/queue")
    jobs = page.locator(".jobs li")
    jobs.nth(2).wait_for()
    jobs.nth(2).drag_to(jobs.nth(0))
    jobs.first.get_by_text("3. road_draft").wait_for()
    page.get_by_text("3 to come: ").wait_for()
    tourist.press("Work the queue")
    page.get_by_text("it is worked now").wait_for(timeout=RUN_MS)
    page.locator(".jobs li.failed").get_by_text("road.png").first.wait_for(timeout=RUN_MS)
    page.locator(".jobs li.done").nth(1).wait_for(timeout=RUN_MS)
    page.get_by_text("nobody works it").wait_for(timeout=RUN_MS)
    tourist.look("queue")
    page.locator(".jobs li.failed").get_by_role("button", name="Retry").click()
    waiting = page.locator(".jobs li.waiting")
    waiting.get_by_text("3. road_draft").wait_for()
    waiting.get_by_role("button", name="Cancel").click()
    waiting.wait_for(state="detached")


def look_first_and_refine(tourist: Tourist, phone: Path) -> None:
    """A run that stops after its preview, and goes on because somebody liked that."""
    page = tourist.page
    tourist.go("/new")
    tourist.drop(phone)
    tourist.say("A quiet road in the evening.")
    tourist.move("push-in", 0.5)
    page.get_by_label("Preset").select_option("standard")
    page.get_by_role("checkbox", name="Stop after the preview").click()
    page.get_by_text("memory: ").wait_for()
    tourist.press("Start")
    page.get_by_role("button", name="Refine").wait_for(timeout=RUN_MS)
    tourist.plays()
    tourist.press("Refine")
    page.get_by_text("finished, ").wait_for(timeout=RUN_MS)
    tourist.plays()


def look_at_what_was_made(tourist: Tourist) -> None:
    """What came of what, and two of them beside each other, in step."""
    page = tourist.page
    tourist.go("/")
    page.get_by_text("branch of phone_draft, frame 8").wait_for()
    page.get_by_text("promote of phone_draft").wait_for()
    tourist.look("wall")
    tourist.go("/compare?a=phone_draft&b=phone_draft-2")
    page.get_by_text("What differs").wait_for()
    page.get_by_text("refine").first.wait_for()
    tourist.plays()
    page.wait_for_function("document.querySelectorAll('.pair video')[1].currentTime > 0.1")
    tourist.look("compare")


def test_the_whole_loop(studio: Any, open_tab: Callable[..., Any], album: Path) -> None:
    tourist = Tourist(open_tab(studio, "/new"), studio.root, album)
    make_a_first_video(tourist, studio.folder / "phone.heic")
    promote_and_branch(tourist)
    add_one_that_will_fail(tourist, studio)
    work_the_queue(tourist)
    look_first_and_refine(tourist, studio.folder / "phone.heic")
    look_at_what_was_made(tourist)
    assert {name: found for name, found in tourist.findings.items() if found} == {}
    assert tourist.tab.complaints == []
    made = sorted(path.name for path in studio.runs.iterdir() if path.is_dir() and path.name[0] != ".")
    assert made == ["phone_draft", "phone_draft-2", "phone_draft-3", "phone_standard", "queue"]
