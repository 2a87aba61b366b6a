"""The memory of a run as a drawing: process and device over time, the cap, peaks, and the phases beneath."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sana_wm.durable import durable_file
from sana_wm.names import STAGES
from sana_wm.report.theme import BLUE, GREY, INK, ORANGE, PHASE_COLOURS, RED, WIDTH_INCHES, Shape, chart_style
from sana_wm.report.timeline import Timeline
from sana_wm.sizes import GIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

HEIGHT_INCHES = {"wide": 4.4, "narrow": 4.6}
FIGURES = {"process_bytes": ("process", BLUE), "device_bytes": ("device", ORANGE)}
#: A stage's name is written over its part of the axis when that is at least this share of it.
LABELLED_SHARE = {"wide": 0.07, "narrow": 0.2}
PNG_DPI = 130


def draw_memory(timeline: Timeline, shape: Shape = "wide") -> Figure:
    """Draw a timeline; says so where the system gave no figures.

    The first axes hold the curves in GiB, the second the phases; both count minutes, or seconds when the run was short.
    """
    with chart_style():
        figure = Figure(figsize=(WIDTH_INCHES[shape], HEIGHT_INCHES[shape]), layout="constrained")
        curves, phases = figure.subplots(2, 1, sharex=True, height_ratios=(10, 1))
        length_s = _length_s(timeline)
        unit, unit_s = ("minutes", 60.0) if length_s > 180 else ("seconds", 1.0)
        drawn = [name for name in FIGURES if _draw_curve(curves, timeline, name, unit_s)]
        _draw_cap(curves, timeline, drawn)
        if not drawn:
            words = (
                "no memory figures:\nthe system or the stage\ncould not say" if timeline.readings else "no memory log"
            )
            curves.text(0.5, 0.5, words, transform=curves.transAxes, ha="center", va="center", fontsize=11)
        _draw_phases(phases, timeline, unit_s)
        _draw_stages(curves, timeline, unit_s, LABELLED_SHARE[shape] * length_s)
        for axes in (curves, phases):
            for pause in timeline.pauses:
                axes.axvline(timeline.on_axis(pause.end_s) / unit_s, color=INK, linewidth=1, linestyle=":")
        curves.set_ylabel("GiB")
        curves.set_ylim(bottom=0)
        curves.set_xlim(0, max(length_s, 1e-3) / unit_s)
        phases.set_xlabel(f"{unit} since the start{', pauses cut out (dotted)' if timeline.pauses else ''}")
        phases.set_yticks([])
        curves.grid(visible=True, axis="y")
        _draw_legend(figure, curves, timeline, shape)
    return figure


def save_memory_plot(timeline: Timeline, path: Path) -> None:
    """Write the drawing as PNG on white, whole or not at all."""
    figure = draw_memory(timeline)
    FigureCanvasAgg(figure)
    with durable_file(path) as part:
        figure.savefig(part, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None})


def _length_s(timeline: Timeline) -> float:
    times = [reading.time_s for reading in timeline.readings[-1:]] + [span.end_s for span in timeline.phases]
    return timeline.on_axis(max(times)) if times else 0.0


def _draw_curve(axes: Axes, timeline: Timeline, name: str, unit_s: float) -> bool:
    """Draw one figure over time, holes where it is not known, a dot at each stage's peak, a big one at the run's.

    Returns:
        Whether it is ever known.
    """
    label, colour = FIGURES[name]
    peak = timeline.peak(name)
    if peak is None:
        return False
    x = [timeline.on_axis(reading.time_s) / unit_s for reading in timeline.readings]
    values = [getattr(reading, name) for reading in timeline.readings]
    y = [float("nan") if value is None else value / GIB for value in values]
    starts = {timeline.on_axis(pause.end_s) / unit_s for pause in timeline.pauses}
    x, y = _broken(x, y, starts)
    peak_bytes: int = getattr(peak, name)
    for stage in STAGES:
        if (highest := timeline.peak(name, stage)) is not None:
            at = (timeline.on_axis(highest.time_s) / unit_s, getattr(highest, name) / GIB)
            axes.plot(*at, "o", color=colour, markersize=7 if highest is peak else 4, clip_on=False)
    where = timeline.phase_at(peak.time_s) or peak.stage
    axes.plot(x, y, color=colour, linewidth=1.6, label=f"{label}: peak {_gib(peak_bytes)}, {where}")
    return True


def _broken(x: Sequence[float], y: Sequence[float], starts: set[float]) -> tuple[list[float], list[float]]:
    """The curve with a hole before each start: nothing ran in between."""
    broken_x, broken_y = list[float](), list[float]()
    for position, value in zip(x, y, strict=True):
        if position in starts:
            broken_x.append(position)
            broken_y.append(float("nan"))
        broken_x.append(position)
        broken_y.append(value)
    return broken_x, broken_y


def _draw_cap(axes: Axes, timeline: Timeline, drawn: list[str]) -> None:
    """The cap as a line where it is within reach of the curves; beyond, in words: it would flatten them."""
    cap_gib = timeline.cap_bytes / GIB
    peaks = [peak for name in drawn if (peak := timeline.peak(name)) is not None]
    highest_gib = max((getattr(peak, name) / GIB for name, peak in zip(drawn, peaks, strict=True)), default=0.0)
    if drawn and cap_gib > 4 * highest_gib:
        axes.set_ylim(top=max(highest_gib * 1.35, 1e-3))
        axes.text(
            0.995, 0.97, f"cap {_gib(timeline.cap_bytes)}, far above ↑", transform=axes.transAxes, ha="right", va="top"
        )
        return
    axes.axhline(cap_gib, color=RED, linewidth=1.4, linestyle="--", label=f"cap {_gib(timeline.cap_bytes)}")
    axes.set_ylim(top=max(cap_gib, highest_gib) * 1.2)


def _draw_phases(axes: Axes, timeline: Timeline, unit_s: float) -> None:
    for span in timeline.phases:
        begin, end = (timeline.on_axis(time) / unit_s for time in (span.begin_s, span.end_s))
        axes.broken_barh([(begin, end - begin)], (0, 1), facecolor=PHASE_COLOURS.get(span.phase, GREY))


def _draw_stages(axes: Axes, timeline: Timeline, unit_s: float, least_s: float) -> None:
    """A tint for every other stage, and the name of each where there is room."""
    runs: list[tuple[str, float, float]] = []
    looks = [(reading.stage, reading.time_s, reading.time_s) for reading in timeline.readings]
    looks += [(span.stage, span.begin_s, span.end_s) for span in timeline.phases]
    starts = [pause.end_s for pause in timeline.pauses]
    for stage, begin_s, end_s in sorted(looks, key=lambda look: look[1]):
        same = runs and runs[-1][0] == stage and not any(runs[-1][2] < start <= begin_s for start in starts)
        if same:
            runs[-1] = (stage, runs[-1][1], max(runs[-1][2], end_s))
        else:
            runs.append((stage, begin_s, end_s))
    for number, (stage, begin_s, end_s) in enumerate(runs):
        begin, end = timeline.on_axis(begin_s), timeline.on_axis(end_s)
        if number % 2:
            axes.axvspan(begin / unit_s, end / unit_s, color=GREY, alpha=0.15, linewidth=0)
        if end - begin >= least_s:
            axes.text(
                (begin + end) / 2 / unit_s,
                1.01,
                stage,
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=8,
            )


def _draw_legend(figure: Figure, curves: Axes, timeline: Timeline, shape: Shape) -> None:
    """Two legends: what the curves are, with their peaks, and what the phases are."""
    phases = list(dict.fromkeys(span.phase for span in timeline.phases))
    if phases:
        figure.legend(
            [Patch(facecolor=PHASE_COLOURS.get(phase, GREY)) for phase in phases],
            [phase.replace("_", " ") for phase in phases],
            loc="outside lower center",
            ncols=6 if shape == "wide" else 3,
            fontsize=8,
        )
    handles, labels = curves.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper left", ncols=3 if shape == "wide" else 1, fontsize=8)


def _gib(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 1024**2:.0f} MiB"
