"""What can be made of a finished run: varied, promoted, extended, branched; started or queued."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from sana_wm.drafting.extension import Extension, write_extension
from sana_wm.drafting.new_run import NewRun
from sana_wm.drafting.presets import PRESETS
from sana_wm.drafting.request import VideoRequest
from sana_wm.drafting.variation import write_variations
from sana_wm.errors import UsageError
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.preflight.prospect import NOTHING_ELSE, Choices
from sana_wm.studio.desk import Desk
from sana_wm.studio.draft import parse_seeds
from sana_wm.studio.layout import address, attempt, button, choice, heading, link, say
from sana_wm.variants import MODELS


class Offspring:
    """The forms beside a run.

    Args:
        desk: The runs folder.
        name: The run's.
        manifest: What ran in it.
    """

    def __init__(self, desk: Desk, name: str, manifest: RunManifest) -> None:
        self._desk, self._name, self._manifest = desk, name, manifest
        self._preset = "standard"

    def show(self) -> None:
        """Draw them."""
        heading("Branch", 2)
        link("Go another way from a frame of it", "/branch", name=self._name)
        heading("Vary", 2)
        seeds = ui.input("Seeds, with spaces between them: a video each", value=str(self._manifest.stage1.seed + 1))
        prompt = ui.textarea("Prompt", value=self._manifest.input.prompt or "")
        self._offer("Vary", lambda: self._vary(seeds.value or "", prompt.value or ""))
        if not self._manifest.refiner.enabled:
            heading("Promote", 2)
            presets = {
                name: f"{name}: {one.question}"
                for name, one in PRESETS.items()
                if self._manifest.model.variant in one.settings and name != "draft"
            }
            self._preset = "standard" if "standard" in presets else next(iter(presets))
            choice("With full effort, by the preset", presets, self._preset, self._choose)
            self._offer("Promote", self._promote)
        if MODELS[self._manifest.model.variant].can_grow:
            heading("Extend", 2)
            seconds = ui.number("Seconds to add", value=1.5, min=0.5, step=1.5)
            self._offer("Extend", lambda: self._extend(seconds.value))

    def _choose(self, preset: str) -> None:
        self._preset = preset

    def _offer(self, verb: str, write: Callable[[], list[NewRun]]) -> None:
        with ui.element("div").classes("line"):
            button(f"{verb} now", lambda: begin(self._desk, write))
            button(f"{verb} in the queue", lambda: enqueue(self._desk, write))

    def _vary(self, seeds: str, prompt: str) -> list[NewRun]:
        said = VideoRequest(prompt=prompt if prompt != self._manifest.input.prompt else None)
        parent = self._desk.parent(self._name)
        return write_variations(parent, "vary", said, self._desk.environment, parse_seeds(seeds))

    def _promote(self) -> list[NewRun]:
        parent = self._desk.parent(self._name)
        return write_variations(parent, "promote", VideoRequest(preset=self._preset), self._desk.environment)

    def _extend(self, seconds: float | None) -> list[NewRun]:
        return [write_extension(self._desk.run(self._name), Extension(seconds=seconds))]


async def begin(desk: Desk, write: Callable[[], list[NewRun]], choices: Choices = NOTHING_ELSE) -> None:
    """Write a new run, start it and go to it."""

    def make() -> str:
        first, *others = write()
        if others:
            for one in (first, *others):
                one.discard_unstarted()
            raise UsageError("several seeds run one after another", next_step="Add them to the queue.")
        return desk.start(first, choices)

    if (name := await attempt(make)) is not None:
        ui.navigate.to(address("/run", name=name))


async def enqueue(desk: Desk, write: Callable[[], list[NewRun]], choices: Choices = NOTHING_ELSE) -> None:
    """Write new runs and add them to the queue."""
    if (count := await attempt(lambda: desk.enqueue(write(), choices))) is not None:
        say(f"{count} added to the queue")
