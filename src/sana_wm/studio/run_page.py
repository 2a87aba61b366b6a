"""One run: its video, how far it is, what it says, and what can be made of it."""

from __future__ import annotations

from pathlib import Path

from nicegui import run, ui

from sana_wm.errors import HandoffError, SanaWMError, UsageError
from sana_wm.figures import format_bytes, format_seconds
from sana_wm.launcher.detached import ask_to_stop
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.plain_files import open_plain
from sana_wm.preflight.prospect import inspect_run
from sana_wm.progress.snapshot import RunSnapshot
from sana_wm.progress.status import StatusReader
from sana_wm.progress.time_left import describe_time_left
from sana_wm.runs.lock import read_owner
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.studio.desk import Desk
from sana_wm.studio.layout import address, attempt, button, complain, heading, link, say, screen, text
from sana_wm.studio.offspring import Offspring

#: As `status --watch`.
LOOK_EVERY_S = 1.0
MOST_LOG_BYTES = 32 * 1024
MOST_STEPS = 24
#: The memory chart is drawn anew that often while a run goes on.
CHART_EVERY_S = 10


def add_page(desk: Desk) -> None:
    """Add the screen."""

    @ui.page("/run")
    async def run_page(name: str = "") -> None:  # pyright: ignore[reportUnusedFunction]
        with screen(name or "A run"):
            await RunPage(desk, name).show()


class RunPage:
    """A run in one tab."""

    def __init__(self, desk: Desk, name: str) -> None:
        self._desk, self._name = desk, name
        self._reader: StatusReader | None = None
        self._state, self._files = "", ()
        self._told: object = None
        self._charted: object = None

    async def show(self) -> None:
        """Draw it, and again as the run goes on."""
        self._words = ui.element("div").props('aria-live="polite"')
        with ui.element("div").classes("columns"):
            with ui.element("section").props('aria-label="What is seen"'):
                self._video = ui.element("div")
                self._strip = (
                    ui.element("div").classes("strip").props('tabindex="0" role="group" aria-label="Previews"')
                )
                self._chart = ui.element("div")
            with ui.element("section").props('aria-label="What can be done"'):
                self._actions = ui.element("div")
                self._log = ui.element("div")
        await self._look()
        self._timer = ui.timer(LOOK_EVERY_S, self._look)

    async def _look(self) -> None:
        try:
            snapshot = await run.io_bound(self._read)
        except SanaWMError as error:
            self._say_begin(error)
            return
        if snapshot is None:
            return
        self._show_progress(snapshot)
        if snapshot.state != self._state:
            self._state = snapshot.state
            self._show_actions(snapshot)
        self._show_pictures(snapshot)
        self._show_chart(snapshot)

    def _read(self) -> RunSnapshot:
        if self._reader is None:
            self._reader = StatusReader(self._desk.run(self._name))
        return self._reader.look()

    def _say_begin(self, error: SanaWMError) -> None:
        """A run that has just been started has no directory yet; one that was refused never gets one."""
        log = self._desk.own / "logs" / f"{self._name.replace('/', '--')}.log"
        self._words.clear()
        with self._words:
            if isinstance(error, HandoffError) or "/" in self._name or not log.is_file():
                text(str(error), classes="bad")
            else:
                text("It begins. What it says:")
                text(_tail(log), "div", "log")

    def _show_progress(self, snapshot: RunSnapshot) -> None:
        lines = describe(snapshot)
        if self._told == (told := (lines, snapshot.step, snapshot.total, snapshot.error, snapshot.note)):
            return
        self._told = told
        self._words.clear()
        with self._words:
            for line in lines:
                text(line)
            if snapshot.total:
                ui.element("progress").props(f'max="{snapshot.total}" value="{snapshot.step or 0}" aria-label="Steps"')
            if snapshot.error is not None:
                text(snapshot.error.message, classes="bad")
            if snapshot.note is not None:
                text(snapshot.note, classes="quiet")

    def _show_pictures(self, snapshot: RunSnapshot) -> None:
        run_dir = self._desk.run(self._name)
        steps = sorted((run_dir.path / "previews").glob("*.png"))[-MOST_STEPS:]
        what = next(
            (
                one
                for one, path in (
                    ("video", run_dir.video_file),
                    ("growing", run_dir.growing_file),
                    ("preview", run_dir.preview_file),
                )
                if path.is_file()
            ),
            "",
        )
        files = (what, tuple(path.name for path in steps))
        if files == self._files:
            return
        is_other = files[0] != (self._files[0] if self._files else None)
        self._files = files
        if is_other:
            self._video.clear()
            if what:
                with self._video:
                    source = address("/run-file", run=self._name, what=what)
                    ui.element("video").props(f'src="{source}" controls loop aria-label="The {what}"').classes(
                        "main-video"
                    )
        self._strip.clear()
        with self._strip:
            for path in steps:
                source = address("/step-picture", run=self._name, step=int(path.stem))
                ui.element("img").props(f'src="{source}" alt="After step {int(path.stem)}"')

    def _show_chart(self, snapshot: RunSnapshot) -> None:
        tick = round(snapshot.time_s) // CHART_EVERY_S if snapshot.state == "running" else 0
        if self._charted == (charted := (snapshot.state, snapshot.stage, tick)):
            return
        self._charted = charted
        self._chart.clear()
        with self._chart:
            heading("Memory", 2)
            source = address("/chart", run=self._name, at=round(snapshot.time_s))
            ui.element("img").props(f'src="{source}" alt="Memory over time"').classes("chart")

    def _show_actions(self, snapshot: RunSnapshot) -> None:
        run_dir = self._desk.run(self._name)
        manifest = run_dir.read_manifest()
        self._actions.clear()
        with self._actions:
            with ui.element("div").classes("line"):
                if snapshot.state in ("running", "stopping"):
                    button("Stop", lambda: self._stop(run_dir))
                elif snapshot.state != "finished":
                    self._offer_going_on(run_dir, manifest, snapshot)
                link("Report", "/report", run=self._name).props('target="_blank"')
                button("Show the log", lambda: self._show_log(run_dir))
            text(manifest.input.prompt or "", classes="prompt")
            if snapshot.state == "finished":
                Offspring(self._desk, self._name, manifest).show()

    def _offer_going_on(self, run_dir: RunDirectory, manifest: RunManifest, snapshot: RunSnapshot) -> None:
        looked_at = run_dir.preview_file.is_file() and not run_dir.receipt_file("refiner").is_file()
        if snapshot.state == "stopped" and manifest.refiner.enabled and looked_at:
            button("Refine", lambda: self._go_on("refine", run_dir), main=True)
        else:
            button("Go on", lambda: self._go_on("resume", run_dir), main=True)

    async def _go_on(self, verb: str, run_dir: RunDirectory) -> None:
        def begin() -> bool:
            inspect_run(run_dir, self._desk.environment).require()
            self._desk.go_on(verb, run_dir.path)
            return True

        if await attempt(begin):
            say("It goes on.")

    def _stop(self, run_dir: RunDirectory) -> None:
        owner = read_owner(run_dir)
        try:
            if owner is None or owner.is_elsewhere() or not owner.lives():
                raise UsageError("nobody of this machine runs it", got=str(owner), expected="a run that goes on here")
            ask_to_stop(owner.pid)
        except (SanaWMError, OSError) as error:
            complain(error)
        else:
            say("Its step ends and is saved first.")

    def _show_log(self, run_dir: RunDirectory) -> None:
        self._log.clear()
        with self._log:
            started = self._desk.log_of(run_dir.path)
            for path in (started, *sorted((run_dir.path / "logs").glob("*.log"))):
                if path.is_file():
                    heading(path.stem, 2)
                    text(_tail(path), "div", "log").props('tabindex="0" role="group" aria-label="Log"')


def describe(snapshot: RunSnapshot) -> list[str]:
    """How far a run is, in lines."""
    took = "in all" if snapshot.state == "finished" else "so far"
    elapsed = "" if snapshot.elapsed_s is None else f", {format_seconds(snapshot.elapsed_s)} {took}"
    left = f", {words}" if (words := describe_time_left(snapshot)) else ""
    stages = ", ".join(f"{one.stage} {one.state}" for one in snapshot.stages if one.state != "off")
    lines = [f"{snapshot.state}{elapsed}{left}", stages]
    if snapshot.state in ("running", "stopping") and snapshot.phase is not None:
        steps = "" if snapshot.total is None else f", {snapshot.step} of {snapshot.total} steps"
        lines.append(f"{snapshot.stage}: {snapshot.phase.replace('_', ' ')}{steps}")
    if snapshot.memory.used_bytes is not None:
        lines.append(f"memory: {format_bytes(snapshot.memory.used_bytes)} of {format_bytes(snapshot.memory.cap_bytes)}")
    return lines


def _tail(path: Path) -> str:
    with open_plain(path) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - MOST_LOG_BYTES))
        return file.read().decode(errors="replace").strip()
