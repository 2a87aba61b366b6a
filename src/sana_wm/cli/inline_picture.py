"""A still picture between the lines of a terminal that can show one; by what the environment says, nobody is asked."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from typing import Literal

from sana_wm.printing import drawing_stream

Protocol = Literal["kitty", "sixel"]

#: By `TERM_PROGRAM`. iTerm2 and WezTerm know Kitty's protocol, too, but not the placeholders that it scrolls with.
PROGRAMS: dict[str, Protocol] = {"ghostty": "kitty", "iTerm.app": "sixel", "WezTerm": "sixel"}
MOST_COLUMNS = 80


def protocol_of(environment: Mapping[str, str]) -> Protocol | None:
    """How the terminal takes pictures; `None`: not at all, or not through what stands in between (tmux, screen)."""
    if environment.get("TERM", "").startswith(("screen", "tmux", "dumb")) or "TMUX" in environment:
        return None
    if environment.get("TERM") in ("xterm-kitty", "xterm-ghostty"):
        return "kitty"
    return PROGRAMS.get(environment.get("TERM_PROGRAM", ""))


def inline_protocol() -> Protocol | None:
    """As `protocol_of` says, where input and output are this terminal; a pipe or a file never gets a picture."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    return protocol_of(os.environ)


def show_picture(png: bytes, protocol: Protocol) -> None:
    """Show a picture on standard output, at most as wide as the terminal.

    Args:
        png: Its file's content.
        protocol: As `inline_protocol` says.
    """
    from PIL import Image
    from rich.console import Console

    # While it is imported, the library asks a terminal what it can, and may take keys that its user types meanwhile.
    real, sys.__stdout__ = sys.__stdout__, None  # pyright: ignore[reportAttributeAccessIssue]
    try:
        from textual_image.renderable import SixelImage, TGPImage
    finally:
        sys.__stdout__ = real  # pyright: ignore[reportAttributeAccessIssue]
    sys.stdout.flush()
    console = Console(file=drawing_stream(sys.stdout), force_terminal=True)
    draw = TGPImage if protocol == "kitty" else SixelImage
    with Image.open(io.BytesIO(png)) as picture:
        console.print(draw(picture.convert("RGB"), width=min(MOST_COLUMNS, console.width - 1)))
