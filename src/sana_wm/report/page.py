"""The report: one HTML file that needs nothing beside it, no script and no network."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from sana_wm import __version__
from sana_wm.camera.of_manifest import load_trajectory
from sana_wm.durable import write_durably
from sana_wm.errors import SanaWMError
from sana_wm.printing import spelled_out
from sana_wm.report.charts import RunTimes, draw_camera, draw_latents, draw_times
from sana_wm.report.facts import RunFacts
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
            video=_embed_file(facts.run.video_file, "video/mp4"),
            preview=_embed_file(facts.run.preview_file, "video/mp4"),
            video_bytes=facts.run.video_file.stat().st_size if facts.run.video_file.is_file() else 0,
            contact_sheet=_embed_file(facts.run.contact_sheet_file, "image/png"),
            camera=_camera(facts),
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
    environment.filters.update(gib=format_bytes, seconds=format_seconds)
    return environment


def format_bytes(count: int | None) -> str:
    """`26.1 GiB`, `310 MiB`, or that it is not known."""
    if count is None:
        return "not known"
    sizes = ((GIB, "GiB"), (1024**2, "MiB"), (1024, "KiB"))
    return next((f"{count / size:.1f} {unit}" for size, unit in sizes if count >= size), f"{count}")


def format_seconds(seconds: float | None) -> str:
    """`12.3 s`, `2 h 03 m 04 s`, or that it is not known."""
    if seconds is None:
        return "not known"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m {rest:02d} s" if hours else f"{minutes} m {rest:02d} s"


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


def _camera(facts: RunFacts) -> Markup:
    """The camera path as a chart, or why there is none."""
    video = facts.manifest.video
    try:
        trajectory = load_trajectory(facts.manifest).first(video.num_frames)
    except SanaWMError as error:  # a poses file may have moved since
        return Markup('<p class="bad">{}</p>').format(error)
    return charts(
        "camera",
        "Camera path",
        lambda shape: draw_camera(trajectory, fps=video.fps, shape=shape),
    )


def embed(content: bytes, kind: str) -> str:
    """Content as a `data:` address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _embed_file(path: Path, kind: str) -> str | None:
    """A file as a `data:` address; `None` when it is not there."""
    return embed(path.read_bytes(), kind) if path.is_file() else None
