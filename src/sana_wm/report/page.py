"""The report: one HTML file that needs nothing beside it, no script and no network."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from sana_wm import __version__
from sana_wm.camera.of_manifest import load_trajectory
from sana_wm.durable import write_durably
from sana_wm.errors import HandoffError, SanaWMError
from sana_wm.figures import format_bytes, format_seconds
from sana_wm.printing import spelled_out
from sana_wm.report.charts import RunTimes, draw_camera, draw_latents, draw_times
from sana_wm.report.facts import RunFacts
from sana_wm.report.first_frame import read_first_frame, read_poster
from sana_wm.report.memory_plot import draw_memory
from sana_wm.report.theme import Shape, to_svg
from sana_wm.report.timeline import Timeline
from sana_wm.sizes import GIB
from sana_wm.variants import MODELS

SHAPES: tuple[Shape, ...] = ("wide", "narrow")


def write_report(path: Path, facts: RunFacts, timeline: Timeline, runs: Sequence[RunTimes]) -> None:
    """Write the page, whole or not at all.

    Args:
        path: The HTML file.
        facts: Of the run.
        timeline: Its memory.
        runs: Times of earlier runs of the same work and of this one, oldest first; empty when this one is not done.

    Raises:
        HandoffError: It cannot be written.
    """
    write_durably(path, render_report(facts, timeline, runs))


def render_report(facts: RunFacts, timeline: Timeline, runs: Sequence[RunTimes]) -> str:
    """The page as text; see `write_report`."""
    limits = facts.manifest.sanity
    return (
        page_environment()
        .get_template("page.html.jinja")
        .render(
            facts=facts,
            manifest=facts.manifest,
            model_title=MODELS[facts.manifest.model.variant].title,
            manifest_text=json.dumps(facts.manifest.model_dump(mode="json"), indent=2, ensure_ascii=False),
            package_version=__version__,
            video=show_video(facts.run.video_file),
            preview=show_video(facts.run.preview_file),
            first_frame=show_first_frame(facts),
            contact_sheet=embed_file(facts.run.contact_sheet_file, "image/png"),
            camera=draw_camera_path(facts),
            timeline=timeline,
            memory=charts("memory", "Memory over time", lambda shape: draw_memory(timeline, shape)),
            runs=runs,
            times=charts("times", "Seconds by stage and phase", lambda shape: draw_times(runs, shape))
            if runs
            else None,
            latents=charts(
                "latents",
                "Standard deviation and change of each latent frame",
                lambda shape: draw_latents(
                    facts.latents, low=limits.latent_std_min, high=limits.latent_std_max, shape=shape
                ),
            )
            if facts.latents
            else None,
        )
    )


def page_environment() -> Environment:
    """What renders pages: nothing of a run becomes markup, and nothing that a page asks for may be missing."""
    environment = Environment(
        loader=PackageLoader("sana_wm.report", ""),
        autoescape=True,  # a prompt is text, whatever it looks like
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        quote=lambda path: shlex.quote(str(path)),
        gib=format_memory,
        bytes=format_bytes,
        seconds=format_phase,
        duration=or_not_known(format_seconds),
        moment=format_moment,
    )
    return environment


def or_not_known(format_known: Callable[[float], str]) -> Callable[[float | None], str]:
    """What says of `None` that it is not known, and of a number what it is given."""
    return lambda value: "not known" if value is None else format_known(value)


def format_memory(count: int | None) -> str:
    """`26.1 GiB`, `310 MiB`, or that it is not known: binary, as memory is counted."""
    if count is None:
        return "not known"
    sizes = ((GIB, "GiB"), (1024**2, "MiB"), (1024, "KiB"))
    return next((f"{count / size:.1f} {unit}" for size, unit in sizes if count >= size), f"{count}")


def format_phase(seconds: float | None) -> str:
    """`12.3 s` below a minute, where a phase's tenths tell; beyond, as every time of a run is said."""
    if seconds is None or seconds >= 60:
        return or_not_known(format_seconds)(seconds)
    return f"{seconds:.1f} s"


def format_moment(stamp: object) -> str:
    """`2030-01-01 07:30 UTC`; what is no time of ISO 8601, as it stands."""
    try:
        return f"{datetime.fromisoformat(str(stamp)).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return str(stamp)


def _shown(value: object) -> object:
    """What the page shows of a value; what is markup already was made here."""
    return spelled_out(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def charts(name: str, description: str, draw: Callable[[Shape], Figure]) -> Markup:
    """A chart in both shapes; the page shows the one that fits the window."""
    drawings = [
        Markup('<div class="{}">{}</div>').format(
            shape, to_svg(draw(shape), name=f"{name}-{shape}", description=description)
        )
        for shape in SHAPES
    ]
    return Markup("").join(drawings)


def draw_camera_path(facts: RunFacts, *, whole: bool = False) -> Markup:
    """The camera path as a chart, as far as the video takes it or the whole of it, or why there is none."""
    video = facts.manifest.video
    try:
        path = load_trajectory(facts.manifest)
        trajectory = path if whole else path.first(video.num_frames)
    except SanaWMError as error:  # a poses file may have moved since
        return Markup('<p class="bad">{}</p>').format(error)
    return charts(
        "camera",
        "Camera path",
        lambda shape: draw_camera(trajectory, fps=video.fps, shape=shape),
    )


def show_first_frame(facts: RunFacts) -> Markup:
    """The picture that the run began with, or why it is not there."""
    try:
        picture = embed(read_first_frame(facts.manifest), "image/jpeg")
    except SanaWMError as error:
        return Markup('<p class="note">The picture is not shown: {}</p>').format(error)
    return Markup('<img src="{}" alt="The picture that the video begins with">').format(picture)


def show_video(path: Path, *, plays_at_once: bool = False) -> Markup | None:
    """A video with its first frame to be seen before it plays; `None` when it is not there."""
    if not path.is_file():
        return None
    try:
        poster = Markup(' poster="{}"').format(embed(read_poster(path), "image/jpeg"))
    except HandoffError:  # the player says so, too
        poster = Markup("")
    return Markup(
        '<video controls loop muted playsinline {} src="{}"{}>This browser cannot show it; see {}.</video>'
    ).format(
        Markup("autoplay" if plays_at_once else 'preload="metadata"'),
        embed(path.read_bytes(), "video/mp4"),
        poster,
        path.name,
    )


def embed(content: bytes, kind: str) -> str:
    """Content as a `data:` address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def embed_file(path: Path, kind: str) -> str | None:
    """A file as a `data:` address; `None` when it is not there."""
    return embed(path.read_bytes(), kind) if path.is_file() else None
