"""What every screen has: its frame, its way of saying what is wrong, its words for times."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlencode

from nicegui import run, ui

from sana_wm.errors import ModuleEndedError, SanaWMError
from sana_wm.printing import spelled_out

Result = TypeVar("Result")

SCREENS = {"/": "Runs", "/new": "New video", "/compare": "Compare", "/queue": "Queue"}
HEAD = """
<link rel="stylesheet" href="/studio-assets/studio.css">
<script src="/studio-assets/studio.js"></script>
"""


@contextmanager
def screen(title: str, here: str = "") -> Generator[None]:
    """A screen while the block runs.

    Args:
        title: Its heading.
        here: Its address among `SCREENS`.
    """
    ui.page_title(f"{spelled_out(title)} · sana-wm studio")
    ui.add_head_html(HEAD)
    ui.colors(primary="#2457c5", negative="#b3261e", positive="#1f6f3d")
    with ui.element("nav").classes("bar").props('aria-label="Screens"'):
        for address, words in SCREENS.items():
            place = link(words, address)
            if address == here:
                place.props('aria-current="page"')
    with ui.element("main").classes("screen"):
        heading(title)
        yield


def heading(words: str, level: int = 1) -> ui.element:
    """A heading; everything that a user named goes through here or `text`."""
    return text(words, f"h{level}")


def text(words: object, tag: str = "p", classes: str = "") -> Text:
    """A piece of text, never markup."""
    return Text(str(words), tag, classes)


class Text(ui.element):
    """Text under a tag; what would steer a page or lie about its order is spelled out."""

    def __init__(self, words: str, tag: str, classes: str = "") -> None:
        super().__init__(tag)
        self.say(words)
        if classes:
            self.classes(classes)

    def say(self, words: str) -> None:
        """Show other words."""
        shown = spelled_out(words)
        if self._text != shown:
            self._text = shown
            self.update()


def button(words: str, act: Callable[[], object], *, main: bool = False) -> ui.element:
    """A button; `main` is the one that most people want."""
    made = Text(words, "button", "plain main" if main else "plain").props('type="button"')
    made.on("click", lambda _: act())
    return made


def choice(label: str, options: Mapping[str, str], chosen: str, tell: Callable[[str], object]) -> None:
    """A list to choose from.

    Args:
        label: What is chosen.
        options: Words by value.
        chosen: At first.
        tell: Given the value that somebody chose.
    """
    with ui.element("label").classes("field"):
        text(label, "span")
        box = ui.element("select").on(
            "change", lambda event: tell(str(event.args)), js_handler="(event) => emit(event.target.value)"
        )
        with box:
            for value, words in options.items():
                option = text(words, "option")
                option.props["value"] = value  # not as text among others: a run's name may hold anything
                option.props["selected"] = value == chosen


class Slider(ui.element):
    """The browser's own, whole numbers: it has a name for those who cannot see it, and keys.

    Args:
        label: What is chosen.
        low: The least.
        high: The most.
        value: At first.
        tell: Given each value somebody slides to.
    """

    def __init__(self, label: str, low: int, high: int, value: int, tell: Callable[[int], object]) -> None:
        super().__init__("input")
        self.classes("slider").props(f'type="range" min="{low}" max="{high}" step="1"')
        self.props["aria-label"] = label
        self.value = self.props["value"] = value
        self.on("input", lambda event: tell(int(event.args)), js_handler="(event) => emit(event.target.value)")

    def move_to(self, value: float) -> None:
        """Show another value."""
        if self.value != value:
            self.value = self.props["value"] = value
            self.update()


def link(words: str, path: str, **query: object) -> ui.link:
    """A link to a screen."""
    return ui.link(spelled_out(words), address(path, **query))


def address(path: str, **query: object) -> str:
    """An address of this page."""
    return f"{path}?{urlencode(query)}" if query else path


def show_preview(film: ui.element, key: str) -> None:
    """Show the preview of a camera that was written under a key, in the place of another."""
    film.clear()
    with film:
        text("A guess at the motion, not at the video.", classes="quiet")
        source = address("/camera-preview", key=key)
        ui.element("video").props(
            f'src="{source}" controls autoplay muted loop aria-label="Preview of the camera"'
        ).classes("film")


async def attempt(call: Callable[[], Result]) -> Result | None:
    """Do something outside of the page's loop; what goes wrong is said, and `None` given back."""
    try:
        return await run.io_bound(call)
    except (SanaWMError, ModuleEndedError, OSError) as error:
        complain(error)
        return None


def complain(error: Exception) -> None:
    """Say what is wrong until it is taken note of."""
    ui.notify(spelled_out(str(error)), type="negative", timeout=0, close_button="Close", multi_line=True)


def say(words: str) -> None:
    """Say something in passing."""
    ui.notify(spelled_out(words), type="positive")
