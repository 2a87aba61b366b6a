"""The demo on one page: what went in, where the camera goes, what both models made of it, what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sana_wm import __version__
from sana_wm.durable import write_durably
from sana_wm.report.facts import RunFacts
from sana_wm.report.page import draw_camera_path, page_environment, show_first_frame, show_video
from sana_wm.variants import MODELS


@dataclass(frozen=True)
class Demo:
    """What the page shows.

    Attributes:
        preview: The camera's whole path through the picture, as MP4.
        runs: One of each model; they share picture, prompt and path.
        commands: What comes next, for a shell, each with what it does.
    """

    preview: Path
    runs: tuple[RunFacts, ...]
    commands: Sequence[tuple[str, str]]

    @property
    def elapsed_s(self) -> float | None:
        """All runs together; `None` unless it is known of each."""
        known = [facts.elapsed_s for facts in self.runs if facts.elapsed_s is not None]
        return sum(known) if len(known) == len(self.runs) else None

    @property
    def machine(self) -> str:
        """Where it ran, in words; empty where nothing is said of that."""
        told = self.runs[0].metrics.get("machine")
        words = [told.get("processor"), told.get("system")] if isinstance(told, dict) else []
        used = [f"{one.device}, {one.dtype}" for facts in self.runs for stage in facts.stages if (one := stage.receipt)]
        return ", ".join(str(one) for one in (*words, *dict.fromkeys(used)) if one)


def write_demo_page(path: Path, demo: Demo) -> None:
    """Write the page, whole or not at all.

    Raises:
        HandoffError: It cannot be written.
    """
    first = demo.runs[0]
    page = page_environment().get_template("demo.html.jinja")
    write_durably(
        path,
        page.render(
            demo=demo,
            manifest=first.manifest,
            preview=show_video(demo.preview, plays_at_once=True),
            first_frame=show_first_frame(first),
            camera=draw_camera_path(first, whole=True),
            videos=[
                (MODELS[facts.manifest.model.variant].title, facts, show_video(facts.run.video_file))
                for facts in demo.runs
            ],
            package_version=__version__,
        ),
    )
