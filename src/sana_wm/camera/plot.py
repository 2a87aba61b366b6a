"""A camera path as a drawing: from above, and from the side where that shows more than a line.

Its colours are those of the style it is drawn in: time goes from the first to the second, the path starts in the third
and ends in the fourth.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from numpy.typing import NDArray

from sana_wm.camera.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

SIZE_INCHES = (10.0, 6.4)
DPI = 120
#: A path that hardly moves is drawn in a window of at least this many scene units.
MIN_SPAN = 1.0
#: Length of a view arrow, and room around the path, as shares of the larger span.
ARROW_SHARE, MARGIN_SHARE = 0.07, 0.12
#: A panel that stands alone is so many times as wide as high, and takes the room of two.
ALONE_PROPORTION = 2.4
#: Less than this share of the span, and less than this angle up or down, looks like a line from the side.
HEIGHT_SHARE, PITCH_DEG = 0.01, 1.0


def draw_path(
    trajectory: Trajectory,
    *,
    fps: float,
    title: str,
    labels: Sequence[tuple[int, str]] = (),
    field_of_view_deg: float | None = None,
) -> Figure:
    """Draw a path, its time as colour, with an arrow along the view each second.

    Args:
        trajectory: F poses.
        fps: Poses a second.
        title: Stands above.
        labels: Pose number and text, such as the segments of an action.
        field_of_view_deg: Horizontal; shown as a wedge at the start.

    Returns:
        The figure. The axes called `from above` have right and forward as x and y, those called `from the side`, where
        `has_height`, forward and up; one scale for both directions in each.
    """
    c2w = trajectory.c2w.astype(np.float64)
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    panels = list(figure.subplots(1, 1 + has_height(trajectory), squeeze=False)[0])
    above, proportion = panels[0], 1.0 if len(panels) > 1 else ALONE_PROPORTION
    start_colour, end_colour = to_hex("C2"), to_hex("C3")  # resolved now: a style may end before the figure is saved
    seconds = np.arange(len(c2w)) / fps
    arrows = np.arange(0, len(c2w), max(1, round(fps)))
    right, up, forward = c2w[:, 0], -c2w[:, 1], c2w[:, 2]
    views_drawn = (
        (right, forward, ("from above", "right", "forward")),
        (forward, up, ("from the side", "forward", "up")),
    )
    for axes, (across, along, names) in zip(panels, views_drawn, strict=False):
        points, views = np.stack([across[:, 3], along[:, 3]], 1), np.stack([across[:, 2], along[:, 2]], 1)
        span = max(float(np.ptp(points, axis=0).max()), MIN_SPAN)
        if axes is above and field_of_view_deg is not None:
            _draw_wedge(axes, points[0], views[0], field_of_view_deg, 3 * ARROW_SHARE * span)
        lines = _draw_line(axes, points, seconds)
        _draw_arrows(axes, points[arrows], ARROW_SHARE * span * views[arrows], 0.004 / proportion)
        axes.plot(*points[0], "o", color=start_colour, markersize=8, zorder=4, label="start")
        axes.plot(*points[-1], "s", color=end_colour, markersize=8, zorder=4, label="end")
        if axes is above:
            _draw_labels(axes, points, labels)
            figure.colorbar(lines, ax=panels, location="bottom", label="seconds", shrink=0.6, aspect=40)
        set_window(axes, points, span, names, proportion)
    handles, _ = above.get_legend_handles_labels()
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=8)
    return figure


def _draw_arrows(axes: Axes, starts: NDArray[np.float64], arrows: NDArray[np.float64], width: float) -> None:
    """Arrows (N, 2) from points (N, 2), as long as they are in the path's units."""
    axes.quiver(*starts.T, *arrows.T, angles="xy", scale_units="xy", scale=1, width=width, color="0.35", zorder=3)


def has_height(*trajectories: Trajectory) -> bool:
    """Whether any of the paths rises, sinks, or looks up or down, as far as a drawing can show it."""
    for trajectory in trajectories:
        positions, views = trajectory.c2w[:, :3, 3], trajectory.c2w[:, :3, 2]
        span = max(float(np.ptp(positions, axis=0).max()), MIN_SPAN)
        if np.ptp(positions[:, 1]) > HEIGHT_SHARE * span or np.abs(views[:, 1]).max() > np.sin(np.radians(PITCH_DEG)):
            return True
    return False


def as_png(figure: Figure) -> bytes:
    """A figure as a PNG file's content; the same figure gives the same bytes."""
    content = BytesIO()
    figure.savefig(content, format="png", facecolor="white", metadata={"Software": None})
    return content.getvalue()


def _draw_line(axes: Axes, points: Array, seconds: Array) -> LineCollection:
    time_colours = LinearSegmentedColormap.from_list("time", [to_hex("C0"), to_hex("C1")])
    pieces = np.stack([points[:-1], points[1:]], axis=1)
    lines = LineCollection(list(pieces), cmap=time_colours, linewidths=2.5, zorder=2)
    lines.set_array(seconds[:-1])
    axes.add_collection(lines)
    return lines


def _draw_wedge(axes: Axes, start: Array, view: Array, angle_deg: float, reach: float) -> None:
    heading, half = np.arctan2(view[0], view[1]), np.radians(angle_deg) / 2
    rim = [start + reach * np.array([np.sin(angle), np.cos(angle)]) for angle in heading + np.linspace(-half, half, 24)]
    axes.add_patch(Polygon([start, *rim], facecolor=to_hex("C2"), alpha=0.15, zorder=1, label="field of view"))


def _draw_labels(axes: Axes, points: Array, labels: Sequence[tuple[int, str]]) -> None:
    places: dict[tuple[float, float], list[str]] = {}
    for frame, text in labels:  # what follows a turn on the spot begins in the same place
        right, forward = points[frame].round(2).tolist()
        places.setdefault((right, forward), []).append(text)
    for place, texts in places.items():
        axes.annotate(", ".join(texts), place, xytext=(9, -3), textcoords="offset points", fontsize=8, zorder=5)


def set_window(axes: Axes, points: Array, span: float, names: tuple[str, str, str], proportion: float = 1.0) -> None:
    """A window around the path whose shape is the same whatever the path: so many times as wide as high."""
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    half = span * (0.5 + MARGIN_SHARE)
    title, across, along = names
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(f"{across} (scene units)")
    axes.set_ylabel(f"{along} (scene units)")
    axes.set_xlim(centre[0] - proportion * half, centre[0] + proportion * half)
    axes.set_ylim(centre[1] - half, centre[1] + half)
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
