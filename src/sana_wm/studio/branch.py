"""Branch: choose a frame, choose the next move, look at it, queue it."""

from __future__ import annotations

import secrets

from nicegui import ui

from sana_wm.drafting.branching import write_branch
from sana_wm.drafting.camera_preview import WrittenPreview
from sana_wm.drafting.new_run import NewRun
from sana_wm.drafting.presets import PRESETS
from sana_wm.drafting.request import VideoRequest
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.studio.branch_frame import branch_view
from sana_wm.studio.desk import Desk
from sana_wm.studio.draft import write_view_preview
from sana_wm.studio.layout import Slider, address, attempt, button, choice, heading, screen, show_preview, text
from sana_wm.studio.offspring import begin, enqueue
from sana_wm.studio.path_editor import PathEditor

VIDEO_ID = "scrubbed"
SAME = ""


def add_page(desk: Desk) -> None:
    """Add the screen."""

    @ui.page("/branch")
    async def branch(name: str = "") -> None:  # pyright: ignore[reportUnusedFunction]
        with screen(f"Branch of {name}"):
            if (manifest := await attempt(lambda: desk.run(name).read_manifest())) is not None:
                Branch(desk, name, manifest).show()


class Branch:
    """The screen in one tab.

    Args:
        desk: The runs folder.
        name: Of the run that is left.
        manifest: What ran in it.
    """

    def __init__(self, desk: Desk, name: str, manifest: RunManifest) -> None:
        self._desk, self._name, self._manifest = desk, name, manifest
        self._last = manifest.video.num_frames - manifest.dropped_frames - 1
        self._preset = SAME

    def show(self) -> None:
        """Draw it."""
        with ui.element("div").classes("columns"):
            with ui.element("section").props('aria-label="The frame"'):
                source = address("/run-file", run=self._name, what="video")
                video = ui.element("video").props(f'id="{VIDEO_ID}" src="{source}" muted preload="auto"')
                video.props('aria-label="The video of the run"').classes("main-video")
                self._frame = ui.number("Frame, from 0", value=self._last, min=0, max=self._last, step=1, precision=0)
                self._slider = Slider("Frame of the video", 0, self._last, self._last, self._frame.set_value)
                self._frame.on_value_change(self._scrub)
                self._time = text("", classes="quiet").props('role="status"')
                self._film = ui.element("div")
            with ui.element("section").props('aria-label="Where to from there"'):
                heading("The next move", 2)
                self._path = PathEditor(lambda: None, self._live())
                self._prompt = ui.textarea("Prompt", value=self._manifest.input.prompt or "")
                presets = {SAME: "as the run had it"} | {name: name for name in PRESETS}
                choice("Preset", presets, SAME, self._choose)
                with ui.element("div").classes("line"):
                    button("Preview the camera", self._preview)
                    button("Branch now", lambda: begin(self._desk, self._write), main=True)
                    button("Branch in the queue", lambda: enqueue(self._desk, self._write))
        self._scrub()

    @property
    def _number(self) -> int:
        return int(self._frame.value or 0)

    def _choose(self, preset: str) -> None:
        self._preset = preset

    def _live(self) -> str:
        return address("/live-branch", run=self._name, frame=self._number)

    def _scrub(self) -> None:
        fps = self._manifest.video.fps
        self._slider.move_to(self._number)
        self._time.say(f"frame {self._number} of {self._last}, at {self._number / fps:.2f} s")
        ui.run_javascript(f'sanaStudio.scrub("{VIDEO_ID}", {self._number}, {fps})')
        self._path.watch_over(self._live())

    async def _preview(self) -> None:
        key, number = secrets.token_hex(8), self._number

        def write() -> WrittenPreview:
            view = branch_view(self._desk, self._name, number, self._path.motion())
            return write_view_preview(self._desk, view, key)

        if await attempt(write) is not None:
            show_preview(self._film, key)

    def _write(self) -> list[NewRun]:
        prompt = self._prompt.value or ""
        said = VideoRequest(
            prompt=prompt if prompt != self._manifest.input.prompt else None,
            preset=self._preset or None,
        )
        parent = self._desk.parent(self._name)
        return [write_branch(parent, str(self._number), self._path.add_to(said), self._desk.environment)]
