"""The charts of a comparison: two camera paths over each other, and how alike two videos are frame by frame."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from sana_wm.camera.plot import ALONE_PROPORTION, MIN_SPAN, has_height, set_window
from sana_wm.camera.trajectory import Trajectory
from sana_wm.report.charts import CAMERA_HEIGHT_INCHES
from sana_wm.report.theme import BLUE, GREEN, ORANGE, WIDTH_INCHES, Shape, chart_style

#: A and B, on every chart; B is drawn thinner over A, so that equal paths show both.
COLOURS, LINE_WIDTHS = (BLUE, ORANGE), (5.0, 1.8)


def draw_paths(paths: Sequence[Trajectory], *, fps: float, shape: Shape) -> Figure:
    """Draw camera paths over each other, with an arrow along the view each second.

    From above, and from the side where one of them is more than a line there.
    """
    with chart_style():
        figure = Figure(figsize=(WIDTH_INCHES[shape], CAMERA_HEIGHT_INCHES[shape]), layout="constrained")
        panels = figure.subplots(1, 1 + has_height(*paths), squeeze=False)[0]
        proportion = 1.0 if len(panels) > 1 else ALONE_PROPORTION
        views_drawn = (
            (((0, 1.0), (2, 1.0)), ("from above", "right", "forward")),
            (((2, 1.0), (1, -1.0)), ("from the side", "forward", "up")),
        )
        for axes, (rows, names) in zip(panels, views_drawn, strict=False):
            drawn = [
                np.stack([sign * path.c2w[:, row, 2:].astype(np.float64) for row, sign in rows], 1) for path in paths
            ]
            everywhere = np.concatenate([one[:, :, 1] for one in drawn])
            span = max(float(np.ptp(everywhere, axis=0).max()), MIN_SPAN)
            for one, letter, colour, width in zip(drawn, "AB", COLOURS, LINE_WIDTHS, strict=True):
                views, points = one[:, :, 0], one[:, :, 1]
                axes.plot(*points.T, color=colour, linewidth=width, label=letter, solid_capstyle="butt")
                axes.plot(*points[-1], "s", color=colour, markersize=7)
                every = np.arange(0, len(points), max(1, round(fps)))
                axes.quiver(
                    *points[every].T,
                    *(0.07 * span * views[every]).T,
                    angles="xy",
                    scale_units="xy",
                    scale=1,
                    width=0.004 / proportion,
                    color=colour,
                    alpha=0.7,
                )
            set_window(axes, everywhere, span, names, proportion)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2, fontsize=8)
    return figure


def describe_distance(a: Trajectory, b: Trajectory) -> str:
    """How far apart two paths are at most, in words."""
    count = min(len(a), len(b))
    first, second = (path.c2w[:count].astype(np.float64) for path in (a, b))
    apart = np.linalg.norm(first[:, :3, 3] - second[:, :3, 3], axis=1)
    turned = first[:, :3, :3].transpose(0, 2, 1) @ second[:, :3, :3]
    angles = np.degrees(np.arccos(np.clip((np.trace(turned, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    if np.array_equal(first, second):
        longer = "" if len(a) == len(b) else f" for the {count} poses that both have"
        return f"The same path{longer}: B lies on A."
    far, wide = int(apart.argmax()), int(angles.argmax())
    return (
        f"Farthest apart {apart[far]:.3g} scene units, at frame {far}; the views differ by at most "
        f"{angles[wide]:.3g}°, at frame {wide}."
    )


def draw_likeness(psnr_db: Sequence[float], ssim: Sequence[float], *, first_frame: int, shape: Shape) -> Figure:
    """Draw PSNR and SSIM of every frame; equal frames, whose PSNR is infinite, leave a gap.

    Args:
        psnr_db: By frame.
        ssim: By frame.
        first_frame: Number of the first.
        shape: Of the drawing.
    """
    with chart_style():
        size = (WIDTH_INCHES[shape], 3.0 if shape == "wide" else 4.6)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, 2) if shape == "wide" else figure.subplots(2, 1)
        frames = range(first_frame, first_frame + len(psnr_db))
        finite = [value if math.isfinite(value) else math.nan for value in psnr_db]
        marks = "." if len(finite) < 100 else ""
        panels[0].plot(frames, finite, f"{marks}-", color=BLUE)
        panels[0].set_title("PSNR (dB)", loc="left")
        panels[1].plot(frames, ssim, f"{marks}-", color=GREEN)
        panels[1].set_title("SSIM", loc="left")
        for axes in panels:
            axes.set_xlabel("frame of the camera path")
            axes.grid(visible=True)
    return figure
