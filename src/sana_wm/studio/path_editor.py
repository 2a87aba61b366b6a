"""The camera's way: moves as buttons with seconds on a timeline, or keys that are recorded over a live preview."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nicegui import ui

from sana_wm.camera.actions import parse_action
from sana_wm.camera.move_path import MovePath, resolve_move
from sana_wm.camera.moves import MOVES
from sana_wm.drafting.camera_view import ActionPath
from sana_wm.drafting.wishes import Wishes
from sana_wm.errors import UsageError
from sana_wm.studio.layout import Text, button, text

FPS = 16
FIRST_SECONDS = 2.0


class PathEditor:
    """One in a tab.

    Args:
        changed: Called after every change.
        live: The address that draws the last frame of an action, without the action; empty: nothing can be drawn yet.
    """

    def __init__(self, changed: Callable[[], object], live: str = "") -> None:
        self._changed = changed
        self._moves: list[tuple[str, float]] = []
        self._action = ""
        self._draw(live)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said of the way."""
        return not (self._moves or self._action)

    def add_to(self, said: Wishes) -> Wishes:
        """Wishes with this way."""
        if self._action:
            return replace(said, action=self._action)
        return replace(said, move=self._spelled()) if self._moves else said

    def motion(self) -> ActionPath | MovePath:
        """The way itself.

        Raises:
            UsageError: Nothing is said of it, or a move cannot be.
        """
        if self._action:
            return ActionPath(self._action, "pr379")
        return resolve_move(self._spelled(), FPS)

    def watch_over(self, live: str) -> None:
        """Draw over another picture from now on."""
        self._recorder.props(f'data-live="{live}"')

    def _spelled(self) -> str:
        return ",".join(f"{name}:{round(seconds * FPS)}f" for name, seconds in self._moves)

    def _draw(self, live: str) -> None:
        with ui.element("div").classes("row").props('role="group" aria-label="Add a move"'):
            for name, kind in MOVES.items():
                button(name, lambda name=name: self._add(name)).props(f'title="{kind.does}"')
        self._timeline = ui.element("ol").classes("timeline").props('aria-label="Moves in their order"')
        with ui.element("div").classes("row"):
            button("Undo", self._undo)
            self._told = text("The camera goes straight ahead.", "p", "quiet").props('role="status"')
        self._recorder = ui.element("div").classes("recorder").props(f'data-live="{live}"')
        with self._recorder:
            text("Or record keys: W A S D go, I J K L turn, Space stands still, Backspace takes the last key back.")
            ui.element("img").props('alt="The way so far, a guess over the first frame" hidden')
            with ui.element("div").classes("row"):
                Text("Record", "button", "plain record").props('type="button" aria-pressed="false"').on(
                    "click", js_handler="(event) => sanaStudio.record(event.currentTarget)"
                )
                text("", "p", "quiet keys").props('aria-live="polite"')
        self._recorder.on("recorded", lambda event: self._record(str(event.args)), js_handler="(e) => emit(e.detail)")

    def _add(self, name: str) -> None:
        self._action = ""
        self._moves.append((name, FIRST_SECONDS))
        self._show()

    def _undo(self) -> None:
        if self._action:
            kept = parse_action(self._action)[:-1]
            self._action = ",".join(map(str, kept))
        elif self._moves:
            self._moves.pop()
        self._show()

    def _record(self, action: str) -> None:
        self._moves = []
        try:
            self._action = ",".join(map(str, parse_action(action))) if action else ""
        except UsageError as error:
            self._action = ""
            self._told.say(str(error))
            return
        self._show()

    def _lengthen(self, place: int, seconds: float | None) -> None:
        if seconds:
            self._moves[place] = (self._moves[place][0], seconds)
            self._tell()

    def _show(self) -> None:
        self._timeline.clear()
        with self._timeline:
            for place, (name, seconds) in enumerate(self._moves):
                with ui.element("li"):
                    text(f"{place + 1}. {name}", "p")
                    ui.number("seconds", value=seconds, min=1 / FPS, step=0.25).props(
                        f'dense aria-label="Seconds of move {place + 1}, {name}"'
                    ).on_value_change(lambda event, place=place: self._lengthen(place, event.value))
            for segment in parse_action(self._action) if self._action else ():
                text(str(segment), "li")
        self._tell()

    def _tell(self) -> None:
        if self.is_empty:
            self._told.say("The camera goes straight ahead.")
        else:
            try:
                motion = self.motion()
                trajectory = motion.trajectory if isinstance(motion, MovePath) else motion.trajectory()
                self._told.say(f"{len(trajectory)} frames, {(len(trajectory) - 1) / FPS:g} s")
            except UsageError as error:
                self._told.say(str(error))
        self._changed()
