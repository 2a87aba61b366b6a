"""Text on its way to a terminal or a page: what could steer it, or lie about its order, is spelled out.

Escape sequences, the C1 controls (also as UTF-8 writes them), and marks that turn or hide text come from file names,
prompts, manifests of strangers and messages of libraries.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO, cast

#: What may be in a text besides printable characters.
LAYOUT = "\n\t"


def spelled_out(text: str) -> str:
    r"""Text with every other character than printable ones, line ends and tabs as JSON escapes: `\u001b`.

    JSON stays the JSON that it was.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in LAYOUT else _escape(char) for char in text)


class PrintableStream:
    """A text stream that spells out what it is given; all else is the stream's own.

    Args:
        stream: Where the text goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text; what the stream's encoding lacks is spelled out, too."""
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # how Typer asks what takes bytes
            raise TypeError(f"a text stream takes str, not {type(text).__name__}")
        shown = spelled_out(text)
        try:
            self.stream.write(shown)
        except UnicodeEncodeError:
            encoding = self.stream.encoding
            self.stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # bytes would go past this
            raise AttributeError(name)
        return getattr(self.stream, name)


def spell_out_output() -> None:
    """From now on standard output and standard error of this process spell out what they are given."""
    sys.stdout, sys.stderr = (
        stream if isinstance(stream, PrintableStream) else cast("TextIO", PrintableStream(stream))
        for stream in (sys.stdout, sys.stderr)
    )


def drawing_stream(stream: TextIO) -> TextIO:
    """The stream beneath, for who moves the cursor; it must spell out what it shows itself."""
    return stream.stream if isinstance(stream, PrintableStream) else stream


def _escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
