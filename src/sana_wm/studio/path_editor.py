"""The camera's way: moves as buttons with seconds on a timeline, or keys that are recorded over a live preview."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nicegui import ui

from sana_wm.camera.actions import parse_action
from sana_wm.camera.move_path import MovePath, resolve_move
from sana_wm.camera.moves import MOVES
from sana_wm.drafting.camera_view import ActionPath
from sana_wm.drafting.request import VideoRequest
from sana_wm.errors import UsageError
from sana_wm.studio.layout import Text, button, text

Moves = tuple[tuple[str, float], ...]
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
        self._moves: Moves = ()
        self._action = ""
        self._past: list[tuple[Moves, str]] = []
        self._draw(live)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said of the way."""
        return not (self._moves or self._action)

    def add_to(self, said: VideoRequest) -> VideoRequest:
        """A request with this way."""
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
        with ui.element("div").classes("line").props('role="group" aria-label="Add a move"'):
            for name, kind in MOVES.items():
                button(name, lambda name=name: self._add(name)).props(f'title="{kind.does}"')
        self._timeline = ui.element("ol").classes("timeline").props('aria-label="Moves in their order"')
        with ui.element("div").classes("line"):
            button("Undo", self._undo)
            self._told = text("The camera goes straight ahead.", "p", "quiet").props('role="status"')
        self._recorder = ui.element("div").classes("recorder").props(f'data-live="{live}"')
        with self._recorder:
            text("Or record keys: W A S D go, I J K L turn, Space stands still, Backspace takes the last key back.")
            ui.element("img").props('alt="The way so far, a guess over the first frame" hidden')
            with ui.element("div").classes("line"):
                Text("Record", "button", "plain record").props('type="button" aria-pressed="false"').on(
                    "click", js_handler="(event) => sanaStudio.record(event.currentTarget)"
                )
                text("", "p", "quiet keys").props('aria-live="polite"')
        self._recorder.on("recorded", lambda event: self._record(str(event.args)), js_handler="(e) => emit(e.detail)")

    def _become(self, moves: Moves, action: str = "") -> None:
        """Another way; the one before can be had again."""
        self._past.append((self._moves, self._action))
        self._moves, self._action = moves, action

    def _add(self, name: str) -> None:
        self._become((*self._moves, (name, FIRST_SECONDS)))
        self._show()

    def _remove(self, place: int) -> None:
        self._become((*self._moves[:place], *self._moves[place + 1 :]))
        self._show()

    def _undo(self) -> None:
        if self._past:
            self._moves, self._action = self._past.pop()
            self._show()

    def _record(self, action: str) -> None:
        if not action:
            return
        try:
            self._become((), ",".join(map(str, parse_action(action))))
        except UsageError as error:
            self._told.say(str(error))
            return
        self._show()

    def _lengthen(self, place: int, seconds: float | None) -> None:
        if seconds and seconds != self._moves[place][1]:
            name, _ = self._moves[place]
            self._become((*self._moves[:place], (name, seconds), *self._moves[place + 1 :]))
            self._pieces[place].style(f"--seconds: {seconds:g}")
            self._tell()

    def _show(self) -> None:
        self._timeline.clear()
        with self._timeline:
            self._pieces = [self._piece(place, *move) for place, move in enumerate(self._moves)]
            for segment in parse_action(self._action) if self._action else ():
                text(str(segment), "li")
        self._tell()

    def _piece(self, place: int, name: str, seconds: float) -> ui.element:
        """A move on the timeline, as wide as it is long."""
        piece = ui.element("li").style(f"--seconds: {seconds:g}")
        with piece, ui.element("div").classes("line"):
            text(f"{place + 1}. {name}", "p")
            ui.number(value=seconds, min=1 / FPS, step=0.25).props(
                f'dense borderless aria-label="Seconds of move {place + 1}, {name}"'
            ).on_value_change(lambda event: self._lengthen(place, event.value))
            text("s", "span")
            button("×", lambda: self._remove(place)).props(f'aria-label="Remove move {place + 1}, {name}"')
        return piece

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
