"""Every screen in a browser: quiet, readable, operable by keys alone, and nothing that a user wrote becomes markup."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EVIL = (
    '<img src=x onerror="window.broken=1"><script>window.broken=1</script>'
    "{{constructor.constructor('window.broken=1')()}}"
)
EVIL_NAME = "a'\"><img src=x onerror=window.broken=1>"
SCREENS = {
    "runs": "/",
    "run": "/run?name=road",
    "new": "/new",
    "branch": "/branch?name=road",
    "compare": "/compare",
    "queue": "/queue",
}
SHOWN_FROM = "parseFloat(document.querySelector('.cropped .frame').style.left)"  # percent of the picture
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module", autouse=True)
def runs(studio: Any, copy_run: Callable[[Path], Path], edit_run_manifest: Callable[..., None]) -> None:
    """Two finished runs, one of them with names and texts that want to be scripts."""
    copy_run(studio.runs / "road")
    evil = copy_run(studio.runs / EVIL_NAME)
    edit_run_manifest(evil, input__prompt=EVIL, name=EVIL_NAME)


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_is_quiet_fits_and_is_readable(studio: Any, open_tab: Callable[..., Any], name: str) -> None:
    tab = open_tab(studio, SCREENS[name])
    tab.page.wait_for_timeout(700)  # videos load, and the screen looks a second time
    for width, scheme in ((1600, "light"), (400, "dark")):
        tab.page.set_viewport_size({"width": width, "height": 900})
        tab.page.emulate_media(color_scheme=scheme)
        assert tab.page.evaluate(OVERFLOW) <= 0
        assert tab.axe() == []
    assert tab.complaints == []
    outside = [one for one in tab.requests if not one.startswith((studio.root, "data:", "blob:"))]
    assert outside == []


def test_what_a_user_wrote_never_becomes_a_script(studio: Any, open_tab: Callable[..., Any]) -> None:
    tab = open_tab(studio)
    page = tab.page
    page.get_by_text("<script>window.broken=1</script>").first.wait_for()
    page.get_by_role("link", name=EVIL_NAME).click()
    page.get_by_role("heading", level=1).get_by_text("onerror").wait_for()
    page.get_by_label("Prompt").fill(EVIL)
    page.get_by_label("Seeds").fill(EVIL)
    page.get_by_role("button", name="Vary now").click()
    page.get_by_text("the seeds cannot be read").wait_for()
    page.goto(f"{studio.root}/new")
    page.get_by_label("Prompt").fill(EVIL)
    page.get_by_label("What it shall not show").fill(EVIL)
    page.get_by_label("Seeds").fill(EVIL)
    page.get_by_label("Size").fill(EVIL)
    page.set_input_files("input[type=file]", {"name": f"{EVIL_NAME}.png", "mimeType": "image/png", "buffer": b"no"})
    page.get_by_text("cannot be used as the first frame").wait_for()
    for path in ("/compare", f"/run?name={EVIL}", f"/branch?name={EVIL}", f"/compare?a={EVIL}&b={EVIL}"):
        page.goto(studio.root + path)
        page.get_by_role("heading", level=1).wait_for()
        page.wait_for_timeout(300)
        assert page.evaluate("window.broken") is None
    assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0


def test_a_first_video_can_be_asked_for_by_keys_alone(studio: Any, open_tab: Callable[..., Any]) -> None:
    tab = open_tab(studio, "/new")
    page = tab.page
    page.set_input_files("input[type=file]", studio.folder / "phone.heic")  # the system's own dialog is no page's
    page.get_by_text("phone.heic, 200x120").wait_for()
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        label = page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.innerText")
        reached.append((label or "").split("\n")[0])
        if page.evaluate("document.activeElement.tagName") == "TEXTAREA":
            page.keyboard.type("A quiet road.")
        if reached[-1] == "push-in":
            page.keyboard.press("Enter")
        if reached[-1] == "Start":
            break
    assert reached[-1] == "Start"
    assert {"push-in", "Undo", "Record", "Field of view in degrees", "Preview the camera"} <= set(reached)
    page.get_by_text("1. push-in").wait_for()
    page.get_by_text("13 of 298 tokens").wait_for()
    page.get_by_text("memory: ").wait_for()


def test_keys_are_recorded_over_the_picture_and_can_be_taken_back(studio: Any, open_tab: Callable[..., Any]) -> None:
    tab = open_tab(studio, "/new")
    page = tab.page
    page.set_input_files("input[type=file]", studio.folder / "road.png")
    page.get_by_text("road.png, 200x120").wait_for()
    page.get_by_label("Size").fill("160x96")
    page.get_by_role("button", name="Record").click()
    for key in ("w", "l"):
        page.keyboard.down(key)
        page.wait_for_timeout(400)
        page.keyboard.up(key)
    page.wait_for_function("document.querySelector('.recorder img').naturalWidth > 0")
    page.keyboard.press("Escape")
    pieces = page.locator(".timeline li")
    pieces.nth(1).wait_for()
    assert [text[:2] for text in pieces.all_inner_texts()] == ["w-", "l-"]
    page.get_by_role("button", name="Undo").click()
    pieces.first.wait_for(state="detached")
    for name in ("push-in", "pan-left"):
        page.get_by_role("button", name=name, exact=True).click()
    page.get_by_role("button", name="Remove move 1, push-in").click()
    pieces.nth(1).wait_for(state="detached")
    page.get_by_role("button", name="Undo").click()
    pieces.nth(1).wait_for()
    assert [text[:2] for text in pieces.all_inner_texts()] == ["1.", "2."]
    assert tab.complaints == []


def test_the_part_that_the_video_shows_is_chosen_on_the_picture(studio: Any, open_tab: Callable[..., Any]) -> None:
    tab = open_tab(studio, "/new")
    page = tab.page
    page.set_input_files("input[type=file]", studio.folder / "road.png")
    page.get_by_text("road.png, 200x120").wait_for()
    part = page.get_by_label("Which part of the picture the video shows")
    page.get_by_label("Size").fill("128x128")
    page.wait_for_function(f"Math.abs({SHOWN_FROM} - 20) < 1")
    part.fill("100")
    page.wait_for_function(f"Math.abs({SHOWN_FROM} - 40) < 1")
    page.get_by_label("Prompt").fill("A road.")
    page.get_by_text("the right 60%").first.wait_for()
    page.get_by_label("Size").fill("160x96")
    part.wait_for(state="hidden")
    assert tab.complaints == []


def test_a_prompt_that_is_too_long_says_where_it_is_cut(studio: Any, open_tab: Callable[..., Any]) -> None:
    tab = open_tab(studio, "/new")
    page = tab.page
    page.set_input_files("input[type=file]", studio.folder / "road.png")
    page.get_by_label("Prompt").fill("A road beside a quiet lake. " * 60 + "The end.")
    page.get_by_text('it is cut after "…').first.wait_for()


def test_what_is_missing_is_said_where_it_is_missing(studio: Any, open_tab: Callable[..., Any]) -> None:
    tab = open_tab(studio, "/new")
    tab.page.locator(".problem").get_by_text("no first frame is there").wait_for()
    tab.page.get_by_role("button", name="Start").click()
    tab.page.locator(".q-notification").get_by_text("no first frame is there").wait_for()


def test_a_comparison_wipes_from_one_video_to_the_other(studio: Any, open_tab: Callable[..., Any]) -> None:
    tab = open_tab(studio, "/compare")
    page = tab.page
    page.get_by_text("The same model, ").wait_for()
    page.locator("input[data-wipe]").fill("20")
    assert page.evaluate("document.querySelector('.wipe').style.getPropertyValue('--wipe')") == "20%"
    page.wait_for_function("[...document.querySelectorAll('.wipe video')].every((one) => one.readyState > 0)")
    page.evaluate("document.querySelector('.wipe video').currentTime = 1")
    page.wait_for_function("Math.abs(document.querySelectorAll('.wipe video')[1].currentTime - 1) < 0.1")
    page.get_by_label("How they are seen").select_option("beside")
    page.locator(".pair.beside figcaption").nth(1).wait_for()
    assert tab.complaints == []
