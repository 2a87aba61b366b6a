"""A few calm colours on a terminal; none elsewhere, and none where NO_COLOR is set (https://no-color.org)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Literal, TextIO

import typer

from sana_wm.printing import drawing_stream

#: By how a line of progress begins: done, skipped, running, stopped; what went wrong, what deserves a word.
COLOURS = {"+ ": "green", "= ": "green", "> ": "cyan", "! ": "red", "error ": "red", "note ": "yellow"}
LABELS = {"warning": "yellow", "note": "cyan", "sana-wm": "red"}


def colour_of(line: str) -> str | None:
    """The colour of a line of progress; Rich and Typer both know its name."""
    return next((colour for begun, colour in COLOURS.items() if line.startswith(begun)), None)


def write_lines(lines: Iterable[str], stream: TextIO) -> None:
    """Write lines of progress."""
    write_coloured(((line, colour_of(line)) for line in lines), stream)


def write_coloured(lines: Iterable[tuple[str, str | None]], stream: TextIO) -> None:
    """Write lines, each with its colour."""
    for line, colour in lines:
        _write(line, colour, stream)
        stream.write("\n")
    stream.flush()


def write_labelled(label: Literal["warning", "note", "sana-wm"], text: str, stream: TextIO) -> None:
    """Write `warning: text`, its label in its colour."""
    _write(f"{label}:", LABELS[label], stream)
    stream.write(f" {text}\n")
    stream.flush()


def say_aside(label: Literal["warning", "note"], text: str) -> None:
    """Say something on standard error that is no result."""
    write_labelled(label, text, sys.stderr)


def takes_colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose user wants colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _write(text: str, colour: str | None, stream: TextIO) -> None:
    """Write text in a colour. Only the colour passes by the stream that spells out what could steer a terminal."""
    if colour is None or not takes_colours(stream):
        stream.write(text)
        return
    beneath = drawing_stream(stream)
    beneath.write(typer.style("", fg=colour, reset=False))
    stream.write(text)
    beneath.write(typer.style(""))
