"""The other charts of the report: the camera path, times against earlier runs, latents per frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sana_wm.camera.plot import draw_path
from sana_wm.camera.trajectory import Trajectory
from sana_wm.errors import printable
from sana_wm.names import STAGES, Stage
from sana_wm.report.latents import LatentStatistics
from sana_wm.report.theme import BLUE, GREEN, ORANGE, PHASE_COLOURS, RED, WIDTH_INCHES, Shape, chart_style

CAMERA_HEIGHT_INCHES: dict[Shape, float] = {"wide": 5.2, "narrow": 2.9}

#: Of a run: its name, and seconds by stage and phase.
RunTimes = tuple[str, Mapping[tuple[Stage, str], float]]


def draw_camera(
    trajectory: Trajectory,
    *,
    fps: float,
    shape: Shape,
    title: str = "",
    labels: Sequence[tuple[int, str]] = (),
    field_of_view_deg: float | None = None,
) -> Figure:
    """Draw a camera path as reports and `camera explain --png` show it; arguments as of `sana_wm.camera.plot`."""
    with chart_style():
        figure = draw_path(trajectory, fps=fps, title=title, labels=labels, field_of_view_deg=field_of_view_deg)
        figure.set_size_inches(WIDTH_INCHES[shape], CAMERA_HEIGHT_INCHES[shape])
    return figure


def draw_times(runs: Sequence[RunTimes], shape: Shape) -> Figure:
    """Draw one bar a run and stage, made of its phases; the last run is this one.

    Args:
        runs: Oldest first.
        shape: Of the drawing.
    """
    stages: list[Stage] = [stage for stage in STAGES if any(key[0] == stage for _, times in runs for key in times)]
    longest_s = max((sum(times.values()) for _, times in runs), default=0.0)
    unit, unit_s = ("minutes", 60.0) if longest_s > 180 else ("seconds", 1.0)
    with chart_style():
        height = 1.3 + 0.28 * len(runs) * max(1, len(stages))
        figure = Figure(figsize=(WIDTH_INCHES[shape], height), layout="constrained")
        panels = figure.subplots(max(1, len(stages)), 1, sharex=True, squeeze=False)[:, 0]
        for panel, stage in zip(panels, stages, strict=False):
            for row, (_, times) in enumerate(runs):
                left = 0.0
                for phase in PHASE_COLOURS:
                    seconds = times.get((stage, phase), 0.0)
                    panel.barh(row, seconds / unit_s, left=left, color=PHASE_COLOURS[phase], height=0.75)
                    left += seconds / unit_s
                panel.text(
                    left, row, f" {left * unit_s:.1f} s" if unit_s == 1 else f" {left:.1f} min", va="center", fontsize=8
                )
            panel.set_yticks(range(len(runs)), [printable(name) for name, _ in runs])
            panel.set_title(stage, loc="left")
            panel.margins(x=0.12)
        panels[-1].set_xlabel(unit)
        used = [phase for phase in PHASE_COLOURS if any(key[1] == phase for _, times in runs for key in times)]
        figure.legend(
            [Patch(facecolor=PHASE_COLOURS[phase]) for phase in used],
            [phase.replace("_", " ") for phase in used],
            loc="outside lower center",
            ncols=7 if shape == "wide" else 3,
            fontsize=8,
        )
    return figure


def draw_latents(files: Mapping[str, LatentStatistics], *, low: float, high: float, shape: Shape) -> Figure:
    """Draw standard deviation and change of every latent frame of every file.

    Args:
        files: By name.
        low: `sanity.latent_std_min`.
        high: `sanity.latent_std_max`.
        shape: Of the drawing.
    """
    with chart_style():
        size = (WIDTH_INCHES[shape], 3.0 if shape == "wide" else 4.6)
        figure = Figure(figsize=size, layout="constrained")
        spread, change = figure.subplots(1, 2) if shape == "wide" else figure.subplots(2, 1)
        for (name, statistics), colour in zip(files.items(), (BLUE, ORANGE, GREEN), strict=False):
            frames = range(len(statistics.frames))
            spread.plot(frames, [frame.std for frame in statistics.frames], ".-", color=colour, label=name)
            changes = [float("nan") if frame.change is None else frame.change for frame in statistics.frames]
            change.plot(frames, changes, ".-", color=colour, label=name)
        spread.set_title("standard deviation", loc="left")
        change.set_title("change from the frame before (RMS)", loc="left")
        top = max((frame.std for one in files.values() for frame in one.frames), default=1.0)
        bottom = min((frame.std for one in files.values() for frame in one.frames), default=0.0)
        if top > high / 2:
            spread.axhline(high, color=RED, linestyle="--")
        if bottom < low * 2:
            spread.axhline(low, color=RED, linestyle="--")
        for axes in (spread, change):
            axes.set_ylim(bottom=0)
            axes.set_xlabel("latent frame")
            axes.grid(visible=True)
        spread.legend(fontsize=8)
    return figure
