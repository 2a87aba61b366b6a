"""Runs: a wall of pictures, each run after what it was made from."""

from __future__ import annotations

from nicegui import run, ui

from sana_wm.catalogue.entry import Entry, describe_settings
from sana_wm.catalogue.lineage import Limb, as_tree
from sana_wm.studio.desk import LOOK_EVERY_S, Desk
from sana_wm.studio.layout import address, link, screen, text


def add_page(desk: Desk) -> None:
    """Add the screen."""

    @ui.page("/")
    async def wall() -> None:  # pyright: ignore[reportUnusedFunction]
        with screen("Runs", "/"):
            await Wall(desk).show()


class Wall:
    """The wall in one tab."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._shown: object = None

    async def show(self) -> None:
        """Draw it, and again whenever something changed."""
        self._list = ui.element("ul").classes("wall").props('aria-label="Runs, each after what it was made from"')
        await self._look()
        ui.timer(LOOK_EVERY_S, self._look)

    async def _look(self) -> None:
        limbs = await run.io_bound(lambda: as_tree(self._desk.catalogue().entries))
        if limbs is None:
            return
        now = [(limb.entry.path, limb.lead, limb.entry.state_words, limb.entry.size_bytes) for limb in limbs]
        if now == self._shown:
            return
        self._shown = now
        self._list.clear()
        with self._list:
            if not limbs:
                text("No run is here yet. New video makes the first.", "li")
            for limb in limbs:
                self._card(limb)

    def _card(self, limb: Limb) -> None:
        entry = limb.entry
        name = self._desk.name_of(entry.path)
        with ui.element("li").classes(f"card {entry.state}").style(f"--depth: {len(limb.lead) // 3}"):
            show_thumbnail(self._desk, entry)
            with ui.element("div"):
                link(name, "/run", name=name).classes("name")
                text(entry.state_words, classes="state")
                made_from = entry.manifest.made_from if entry.manifest is not None else None
                if made_from is not None:
                    of = "" if made_from.frame is None else f", frame {made_from.frame}"
                    text(f"{made_from.verb} of {made_from.run.rsplit('/', 1)[-1]}{of}", classes="quiet")
                if entry.manifest is not None:
                    text(entry.manifest.input.prompt or "", classes="prompt")
                    text(describe_settings(entry.manifest), classes="quiet")


def show_thumbnail(desk: Desk, entry: Entry) -> None:
    """What to look at of a run, if there is something."""
    name, found = desk.name_of(entry.path), entry.thumbnail
    if found is None:
        ui.element("div").classes("thumbnail empty")
    elif found == entry.run.preview_file:
        source = address("/run-file", run=name, what="preview", size=entry.size_bytes)
        ui.element("video").props(f'src="{source}" muted preload="metadata" aria-label="Its preview"').classes(
            "thumbnail"
        )
    else:
        is_sheet = found == entry.run.contact_sheet_file
        source = (
            address("/run-file", run=name, what="sheet", size=entry.size_bytes)
            if is_sheet
            else address("/step-picture", run=name, step=int(found.stem))
        )
        ui.element("img").props(f'src="{source}" alt="Frames of the run" loading="lazy"').classes("thumbnail")
