"""New video: a picture, a prompt, a way of the camera; what it takes beside it."""

from __future__ import annotations

import secrets

from nicegui import run, ui

from sana_wm.camera.crop import CENTRE, Crop, crop_shares
from sana_wm.camera.crop_words import crop_choices
from sana_wm.camera.intrinsics import CropGeometry
from sana_wm.drafting.new_run import NewRun
from sana_wm.drafting.presets import PRESETS
from sana_wm.drafting.request import VideoRequest
from sana_wm.errors import SanaWMError, UsageError
from sana_wm.manifest.model import VideoSection
from sana_wm.names import VARIANTS, Variant
from sana_wm.preflight.prospect import Choices
from sana_wm.studio.desk import Desk
from sana_wm.studio.draft import Look, look_at, parse_seeds, write_camera_preview, write_runs
from sana_wm.studio.layout import (
    Slider,
    address,
    attempt,
    button,
    choice,
    complain,
    heading,
    screen,
    show_preview,
    text,
)
from sana_wm.studio.offspring import begin, enqueue
from sana_wm.studio.path_editor import PathEditor
from sana_wm.studio.pictures import Dropped, find_picture
from sana_wm.variants import MODELS

#: A form is looked at when nothing was changed in it for so long.
SETTLE_S = 0.5
#: A phone's main lens.
USUAL_FOV_DEG = 70
#: Of what is cut off, in percent, left of what is shown or above it.
MIDDLE = 50


def add_page(desk: Desk) -> None:
    """Add the screen."""

    @ui.page("/new")
    def new_video() -> None:  # pyright: ignore[reportUnusedFunction]
        with screen("New video", "/new"):
            NewVideo(desk).show()


class NewVideo:
    """The form in one tab."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._picture: Dropped | None = None
        self._drawn = ""
        self._preset = next(iter(PRESETS))
        self._variant: Variant = VARIANTS[0]
        self._changes, self._seen, self._at_work = 1, 0, False

    def show(self) -> None:
        """Draw it."""
        with ui.element("div").classes("columns"):
            with ui.element("section").props('aria-label="What is seen"'):
                self._show_picture()
                self._prompt = ui.textarea("Prompt: what the video shows", on_change=self._change).classes("field")
                self._tokens = text("", classes="quiet").props('role="status"')
                self._negative = ui.input("What it shall not show", on_change=self._change).classes("field")
                heading("Camera", 2)
                self._path = PathEditor(self._change)
                self._show_lens()
            with ui.element("section").props('aria-label="How it is made"'):
                self._show_effort()
                with ui.element("div").classes("panel"):
                    heading("What it takes", 2)
                    self._plan = ui.element("div").props('aria-live="polite"')
                with ui.element("div").classes("line"):
                    button("Preview the camera", self._preview)
                    button("Start", self._start, main=True)
                    button("Add to the queue", self._enqueue)
                self._film = ui.element("div")
        ui.timer(SETTLE_S, self._look)

    def _show_picture(self) -> None:
        heading("First frame", 2)
        zone = ui.element("label").classes("drop").props('data-upload="/upload"')
        with zone:
            text("Drop a picture here, or choose one: JPEG, PNG, HEIC and others.")
            ui.element("input").props(
                'type="file" accept="image/*,.heic,.avif" aria-label="Picture of the first frame"'
            )
        zone.on("uploaded", lambda event: self._take(str(event.args)), js_handler="(e) => emit(e.detail)")
        self._shown = ui.element("div")
        with ui.element("div") as self._part:
            text("Which part of it the video shows", classes="quiet")
            self._crop = Slider("Which part of the picture the video shows", 0, 100, MIDDLE, self._shift)
        self._part.set_visibility(False)
        self._picture_words = text("", classes="quiet").props('role="status"')

    def _show_lens(self) -> None:
        heading("Lens", 2)
        with ui.element("div").classes("line"):
            self._wedge = ui.element("div").classes("lens").style(f"--fov: {USUAL_FOV_DEG}")
            self._wedge.props('role="img" aria-label="The field of view from above"')
            self._fov = ui.number(
                "Field of view, degrees from left to right",
                value=USUAL_FOV_DEG,
                min=5,
                max=150,
                step=1,
                on_change=self._turn_lens,
            ).classes("wide")
        self._slider = Slider("Field of view in degrees", 5, 150, USUAL_FOV_DEG, self._fov.set_value)
        self._estimate = ui.checkbox("As the picture says, or else as Depth Pro estimates", on_change=self._change)
        self._lens_words = text("", classes="quiet")

    def _show_effort(self) -> None:
        heading("Effort", 2)
        choice("Preset", {name: f"{name}: {one.question}" for name, one in PRESETS.items()}, self._preset, self._choose)
        choice("Model", {name: model.title for name, model in MODELS.items()}, self._variant, self._choose_variant)
        self._seeds = ui.input("Seeds, with spaces between them: a video each", value="42", on_change=self._change)
        usual = VideoSection()
        self._size = ui.input("Size, width x height", value=f"{usual.width}x{usual.height}", on_change=self._resize)
        self._stop = ui.checkbox("Stop after the preview, before the refiner's minutes")

    def _change(self) -> None:
        self._changes += 1

    def _resize(self) -> None:
        self._watch()
        self._change()

    def _shift(self, percent: int) -> None:
        self._crop.move_to(percent)
        self._resize()

    def _choose(self, preset: str) -> None:
        self._preset = preset
        self._change()

    def _choose_variant(self, variant: str) -> None:
        self._variant = next(name for name in VARIANTS if name == variant)
        self._change()

    def _turn_lens(self) -> None:
        if self._fov.value:
            self._wedge.style(f"--fov: {self._fov.value:g}")
            self._slider.move_to(self._fov.value)
            self._watch()
            self._change()

    async def _take(self, answer: str) -> None:
        """A picture was uploaded: its key, or what is wrong with it."""
        key, _, wrong = answer.partition("\n")
        if wrong:
            self._picture_words.say(wrong)
            return
        dropped = await attempt(lambda: find_picture(self._desk, key))
        if dropped is None:
            return
        self._picture = dropped
        if dropped.fov_deg is not None:
            self._fov.set_value(round(dropped.fov_deg, 1))
        self._lens_words.say(f"From the picture: {dropped.lens}." if dropped.fov_deg else f"A guess: {dropped.lens}.")
        self._picture_words.say(f"{dropped.path.name}, {dropped.size[0]}x{dropped.size[1]}. {' '.join(dropped.notes)}")
        self._watch()
        self._change()

    def _watch(self) -> None:
        """Show the crop, and draw recorded keys over it."""
        dropped = self._picture
        try:
            size = self._parse_size()
        except UsageError:
            return
        if dropped is None:
            return
        if self._drawn != dropped.key:
            self._draw_picture(dropped)
        crop = self._chosen_crop(dropped.geometry(size, CENTRE))
        geometry = dropped.geometry(size, crop)
        self._part.set_visibility(any(geometry.cut_px))
        (left, top), (width, height) = geometry.crop_offset, geometry.resized_size
        self._frame.style(
            f"left: {left / width:.2%}; top: {top / height:.2%}; "
            f"width: {size[0] / width:.2%}; height: {size[1] / height:.2%}"
        )
        shares = dict(zip(("left", "top"), crop_shares(crop), strict=True))
        fov_deg = self._fov.value or USUAL_FOV_DEG
        self._path.watch_over(
            address("/live", picture=dropped.key, fov_deg=fov_deg, width=size[0], height=size[1], **shares)
        )

    def _draw_picture(self, dropped: Dropped) -> None:
        self._drawn = dropped.key
        self._shown.clear()
        with self._shown, ui.element("div").classes("cropped"):
            source = address("/picture", key=dropped.key)
            ui.element("img").props(f'src="{source}" alt="The picture and what is cut off"')
            self._frame = ui.element("div").classes("frame")

    def _chosen_crop(self, geometry: CropGeometry) -> Crop:
        """The part that the slider says: along the side on which something is cut off."""
        words = crop_choices(geometry)
        by_word: dict[int, Crop] = {0: words[0], MIDDLE: CENTRE, 100: words[-1]}
        if (percent := round(self._crop.value)) in by_word:
            return by_word[percent]
        return (percent / 100, 0.5) if geometry.cuts_across else (0.5, percent / 100)

    def _said(self) -> VideoRequest:
        """The form as the commands' options.

        Raises:
            UsageError: There is no picture, or a field says nothing that can be read.
        """
        dropped = self._picture
        if dropped is None:
            raise UsageError("no first frame is there", expected="a picture", next_step="Drop one.")
        if not (self._prompt.value or "").strip():
            raise UsageError("no prompt is given", expected="what the video shows")
        size = self._parse_size()
        crop = self._chosen_crop(dropped.geometry(size, CENTRE))
        by_exif = dropped.fov_deg is not None and self._fov.value == round(dropped.fov_deg, 1)
        said = VideoRequest(
            image=dropped.path,
            prompt=self._prompt.value,
            negative_prompt=self._negative.value or None,
            preset=self._preset,
            variant=self._variant,
            size=size,
            crop=None if crop == CENTRE else crop,
            fov_deg=None if by_exif or self._estimate.value else self._fov.value,
        )
        return self._path.add_to(said)

    def _parse_size(self) -> tuple[int, int]:
        words = (self._size.value or "").lower().split("x")
        if len(words) != 2 or not all(word.strip().isdecimal() for word in words):
            raise UsageError("the size cannot be read", got=repr(self._size.value), expected="width x height: 1280x704")
        return int(words[0]), int(words[1])

    async def _look(self) -> None:
        """Look at the form when it has settled."""
        changes = self._changes
        if changes == self._seen or self._at_work:
            return
        self._at_work = True
        try:
            said = self._said()
            parse_seeds(self._seeds.value or "")
            look = await run.io_bound(look_at, self._desk, said) or Look()
        except SanaWMError as error:
            look = Look(problems=(str(error),))
        finally:
            self._seen, self._at_work = changes, False
        self._tokens.say(look.tokens)
        self._plan.clear()
        with self._plan:
            for line in look.plan:
                text(line)
            for line in look.problems:
                text(line, classes="bad problem")
            for line in look.notes:
                text(line, classes="quiet")

    async def _preview(self) -> None:
        key = secrets.token_hex(8)
        try:
            said = self._said()
        except UsageError as error:
            complain(error)
            return
        if await attempt(lambda: write_camera_preview(self._desk, said, key)) is not None:
            show_preview(self._film, key)

    async def _start(self) -> None:
        await begin(self._desk, self._write, self._choices())

    async def _enqueue(self) -> None:
        await enqueue(self._desk, self._write, self._choices())

    def _write(self) -> list[NewRun]:
        return write_runs(self._desk, self._said(), parse_seeds(self._seeds.value or ""))

    def _choices(self) -> Choices:
        return Choices(stop_after="preview" if self._stop.value else None)
