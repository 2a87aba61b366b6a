"""Compare: two finished runs over or beside each other, and what differs in words."""

from __future__ import annotations

from nicegui import ui

from sana_wm.report.comparison import Side, read_side
from sana_wm.report.differences import describe_in_common, find_differences
from sana_wm.studio.desk import Desk
from sana_wm.studio.layout import address, attempt, button, choice, heading, screen, text

#: Each with its class on the page.
WAYS = {"wipe": "over each other, with a line to move", "beside": "side by side"}


def add_page(desk: Desk) -> None:
    """Add the screen."""

    @ui.page("/compare")
    async def compare(a: str = "", b: str = "") -> None:  # pyright: ignore[reportUnusedFunction]
        with screen("Compare", "/compare"):
            await Compare(desk, a, b).show()


class Compare:
    """The screen in one tab."""

    def __init__(self, desk: Desk, a: str, b: str) -> None:
        self._desk, self._a, self._b = desk, a, b

    async def show(self) -> None:
        """Draw it."""
        catalogue = await attempt(self._desk.catalogue)
        entries = catalogue.entries if catalogue is not None else ()
        names = [self._desk.name_of(entry.path) for entry in entries if entry.state == "finished"]
        if len(names) < 2:
            text("Two finished runs can be compared; there are not so many yet.")
            return
        self._a = self._a if self._a in names else names[0]
        self._b = self._b if self._b in names and self._b != self._a else next(n for n in names if n != self._a)
        with ui.element("div").classes("columns"):
            choice("A, on the left", {name: name for name in names}, self._a, self._choose_a)
            choice("B, on the right", {name: name for name in names}, self._b, self._choose_b)
        button("Compare", self._go, main=True)
        sides = await attempt(lambda: [read_side(letter, self._desk.run(name)) for letter, name in self._pair])
        if sides is not None:
            self._show_videos()
            self._show_words(sides)

    @property
    def _pair(self) -> tuple[tuple[str, str], tuple[str, str]]:
        return ("A", self._a), ("B", self._b)

    def _choose_a(self, name: str) -> None:
        self._a = name

    def _choose_b(self, name: str) -> None:
        self._b = name

    def _go(self) -> None:
        ui.navigate.to(address("/compare", a=self._a, b=self._b))

    def _show_videos(self) -> None:
        choice("How they are seen", WAYS, "wipe", self._see)
        self._videos = ui.element("div").classes("pair wipe")
        with self._videos:
            for letter, name in self._pair:
                source = address("/run-file", run=name, what="video")
                controls = "controls" if letter == "A" else "tabindex=-1"
                with ui.element("figure"):
                    ui.element("video").props(
                        f'src="{source}" muted loop preload="auto" {controls} aria-label="Video of {letter}"'
                    )
                    text(f"{letter}: {name}", "figcaption")
            ui.element("div").classes("edge")
        with ui.element("label").classes("field"):
            text("A on the left of the line, B on the right", "span")
            ui.element("input").props('type="range" min="0" max="100" data-wipe').on(
                "input", js_handler="(event) => sanaStudio.wipe(event.target)"
            )
        ui.run_javascript("sanaStudio.follow(document.querySelector('.pair'))")

    def _see(self, way: str) -> None:
        self._videos.classes(replace=f"pair {way}")

    def _show_words(self, sides: list[Side]) -> None:
        heading("What differs", 2)
        a, b = (side.manifest for side in sides)
        text(describe_in_common(a, b))
        for one in find_differences(a, b):
            text(one.words)
