"""How charts look: as inline SVG that takes its colours from the page, and as PNG on white."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Generator
from typing import Any, Literal

import matplotlib as mpl
from cycler import cycler
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

#: `wide` for windows from 700 px on, `narrow` for telephones: text keeps its size, the drawing changes its shape.
Shape = Literal["wide", "narrow"]
#: Inches; one inch is 96 px on the page.
WIDTH_INCHES: dict[Shape, float] = {"wide": 10.4, "narrow": 3.8}

#: Stands in for the page's text colour, which depends on the reader; no chart draws anything else in it.
INK = "#010203"
#: In between: visible on white and on near-black.
GREY = "#8a8f98"
#: The dark grey in which `sana_wm.camera.plot` draws its arrows.
_PAGE_COLOURS = {INK: "currentColor", "#595959": GREY}

#: Readable on white and on near-black; told apart with any colour vision (after Okabe and Ito).
BLUE, ORANGE, GREEN, RED = "#3b8ed0", "#d9822b", "#1f9e7a", "#d1495b"
PHASE_COLOURS = {
    "starting": GREY,
    "text_encoder": "#b279a2",
    "vae_encoder": "#e0b13c",
    "connectors": "#7f6fc4",
    "transformer": BLUE,
    "vae_decoder": GREEN,
    "saving": "#b5b9bf",
}


@contextlib.contextmanager
def chart_style() -> Generator[None]:
    """Draw figures for the page while the block runs."""
    settings: dict[Any, Any] = {
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.edgecolor": GREY,
        "grid.color": GREY,
        "grid.alpha": 0.35,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, RED]),
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "none",  # text stays text: small files, and the page's fonts
        "text.parse_math": False,  # a name with dollar signs is a name
    }
    with mpl.rc_context(settings):
        yield


def to_svg(figure: Figure, *, name: str, description: str) -> Markup:
    """A figure as an SVG element for the page.

    Args:
        figure: Drawn within `chart_style`.
        name: Unique on the page: identifiers are made from it.
        description: Read to those who do not see it.
    """
    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        content = io.StringIO()
        FigureCanvasSVG(figure).print_svg(content, metadata={"Date": None, "Creator": None})
    svg = content.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for stand_in, colour in _PAGE_COLOURS.items():
        svg = svg.replace(stand_in, colour)
    # Groups are named alike in every figure; nothing refers to them.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1))
