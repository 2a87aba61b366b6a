"""Characters that nobody sees, and where in a text one stands."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

BYTE_ORDER_MARK = "\ufeff"
#: Letters by their category that leave nothing on a page.
_BLANK_LETTERS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
#: Whose absence would change what is read: joiners of emoji and scripts, variation selectors.
_MEANT = "\u200c\u200d"


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: blanks, line ends, zero-width and other invisible characters only."""
    return all(_is_invisible(char) for char in text)


def hidden_characters(text: str) -> Iterator[int]:
    """Where characters stand that a tokenizer reads and a person does not see, or sees as plain blanks."""
    for index, char in enumerate(text):
        if char not in " \t\n" and char not in _MEANT and _is_invisible(char) and not _is_variation(char):
            yield index


def position(text: str, index: int) -> str:
    """`line 3, column 5`, both from 1."""
    line_start = text.rfind("\n", 0, index) + 1
    return f"line {text.count(chr(10), 0, index) + 1}, column {index - line_start + 1}"


def describe_character(char: str) -> str:
    """`U+200B ZERO WIDTH SPACE`."""
    return f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()


def _is_invisible(char: str) -> bool:
    return (
        char.isspace()
        or unicodedata.category(char) in ("Cc", "Cf", "Zs", "Zl", "Zp")
        or char in _BLANK_LETTERS
        or _is_variation(char)
    )


def _is_variation(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
