"""Two runs on one page: what differs in their manifests, times, frames and camera paths. No script, no network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from sana_wm import __version__
from sana_wm.camera.of_manifest import load_trajectory
from sana_wm.camera.trajectory import Trajectory
from sana_wm.durable import write_durably
from sana_wm.errors import HandoffError, SanaWMError
from sana_wm.manifest.run_manifest import RunManifest
from sana_wm.names import STAGES, Stage
from sana_wm.report.charts import draw_times
from sana_wm.report.comparison_charts import describe_distance, draw_likeness, draw_paths
from sana_wm.report.differences import describe_in_common, find_differences
from sana_wm.report.page import charts, embed, page_environment
from sana_wm.runs.chain import stages_due
from sana_wm.runs.receipts import Receipt, read_receipt
from sana_wm.runs.run_directory import RunDirectory
from sana_wm.variants import MODELS
from sana_wm.video.pair import Pair
from sana_wm.video.pair_likeness import PairLikeness


@dataclass(frozen=True)
class Side:
    """One of two runs.

    Attributes:
        letter: A or B.
        run: Its directory.
        manifest: What ran.
        receipts: Of its stages.
    """

    letter: str
    run: RunDirectory
    manifest: RunManifest
    receipts: Mapping[Stage, Receipt]

    @property
    def label(self) -> str:
        """`A: road`, the name of its directory."""
        return f"{self.letter}: {self.run.path.name}"

    @property
    def seconds(self) -> dict[tuple[Stage, str], float]:
        """By stage and phase, as the receipts have them."""
        return {
            (stage, phase): seconds
            for stage, receipt in self.receipts.items()
            for phase, seconds in receipt.seconds_by_phase.items()
        }

    @property
    def first_frame(self) -> int:
        """The frame of the camera path that its video begins with."""
        return self.manifest.dropped_frames

    @property
    def taken_over(self) -> dict[Stage, str]:
        """The run that a stage was taken over from, where it was: its times are of there."""
        return {stage: one.taken_from.run for stage, one in self.receipts.items() if one.taken_from is not None}


def read_side(letter: str, run: RunDirectory) -> Side:
    """A finished run.

    Raises:
        HandoffError: It is none: no run directory, damaged, or not finished.
    """
    manifest = run.read_manifest()
    finished: dict[Stage, Receipt] = {}
    missing: list[str] = []
    for stage in stages_due(run, manifest):
        if (receipt := read_receipt(run, stage)) is not None:
            finished[stage] = receipt
        else:
            missing.append(f"receipt of {stage}")
    if not run.video_file.is_file():
        missing.append(run.video_file.name)
    if missing:
        raise HandoffError(
            f"{run.path} is not finished",
            got=f"no {', no '.join(missing)}",
            expected="a finished run",
            next_step=f"Finish it: {run.resume_command}",
        )
    return Side(letter, run, manifest, finished)


@dataclass(frozen=True)
class Comparison:
    """What is shown of two runs.

    Attributes:
        a: The run on the left.
        b: The run on the right.
        pair: Their videos.
        likeness: How alike those are; `None` where their sizes differ.
        side_by_side: Both in one video.
        worst: The least alike frames beside each other, as PNG; `None` where nothing differs or is measured.
    """

    a: Side
    b: Side
    pair: Pair
    likeness: PairLikeness | None
    side_by_side: Path
    worst: bytes | None = None

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both runs."""
        return self.a, self.b

    def frame(self, index: int) -> int:
        """The number on the camera path of the `index`th frame that both have."""
        return self.pair.first_frame + index


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write the page, whole or not at all.

    Raises:
        HandoffError: It cannot be written.
    """
    write_durably(path, render_comparison(comparison))


def render_comparison(comparison: Comparison) -> str:
    """The page as text; see `write_comparison`."""
    a, b = comparison.sides
    environment = page_environment()
    environment.filters["figure"] = format_figure
    return environment.get_template("comparison.html.jinja").render(
        comparison=comparison,
        likeness=comparison.likeness,
        likeness_charts=_likeness_charts(comparison),
        pair=comparison.pair,
        video=embed(comparison.side_by_side.read_bytes(), "video/mp4"),
        worst=None if comparison.worst is None else embed(comparison.worst, "image/png"),
        in_common=describe_in_common(a.manifest, b.manifest),
        differences=find_differences(a.manifest, b.manifest),
        camera=_camera(comparison),
        times=charts(
            "times",
            "Seconds by stage and phase",
            lambda shape: draw_times([(side.label, side.seconds) for side in (b, a)], shape),
        ),
        rows=_time_rows(a, b),
        package_version=__version__,
    )


def format_figure(value: float, digits: int = 2) -> str:
    """A figure with so many decimals; `infinite` where it is."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "infinite"


def _likeness_charts(comparison: Comparison) -> Markup | None:
    likeness = comparison.likeness
    if likeness is None or likeness.is_equal:
        return None
    return charts(
        "likeness",
        "PSNR and SSIM of every frame",
        lambda shape: draw_likeness(
            likeness.psnr_db, likeness.ssim, first_frame=comparison.pair.first_frame, shape=shape
        ),
    )


def _camera(comparison: Comparison) -> Markup:
    """Both paths in one chart with how far they are apart, or why there is none."""
    paths: list[Trajectory] = []
    for side in comparison.sides:
        try:
            model = MODELS[side.manifest.model.variant]
            paths.append(load_trajectory(side.manifest).first(side.manifest.video.num_frames, model=model))
        except SanaWMError as error:  # a poses file may have moved since
            return Markup('<p class="bad">{}: {}</p>').format(side.letter, error)
    fps = comparison.a.manifest.video.fps
    words = Markup('<p class="note">{}</p>').format(describe_distance(*paths))
    drawing = charts(
        "camera",
        "Both camera paths",
        lambda shape: draw_paths(paths, fps=fps, shape=shape),
    )
    return words + drawing


def _time_rows(a: Side, b: Side) -> list[tuple[str, str, float | None, float | None]]:
    """Stage, phase and the seconds of both; a stage's own line has no phase."""
    rows: list[tuple[str, str, float | None, float | None]] = []
    for stage in STAGES:
        of_a, of_b = a.receipts.get(stage), b.receipts.get(stage)
        if of_a is None and of_b is None:
            continue
        rows.append((stage, "", of_a and of_a.seconds, of_b and of_b.seconds))
        phases = dict.fromkeys(phase for receipt in (of_a, of_b) if receipt for phase in receipt.seconds_by_phase)
        rows += [(stage, phase, a.seconds.get((stage, phase)), b.seconds.get((stage, phase))) for phase in phases]
    return rows
