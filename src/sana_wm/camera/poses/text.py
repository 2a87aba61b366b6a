"""Text that another tool wrote: decoded, and cut into rows of numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from reprlib import repr as short_repr

import numpy as np
from numpy.typing import NDArray

from sana_wm.errors import UsageError

#: 8185 poses as text have 2 MiB; COLMAP's lists of points can have many times that.
MAX_BYTES = 512 * 1024**2

_SEPARATORS = re.compile(r"[\s,;]+")


def data_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines that hold something, without comments (`#`, `%`): the line's number from 1, and its words."""
    for number, line in enumerate(text.splitlines(), start=1):
        words = [word for word in _SEPARATORS.split(re.split(r"[#%]", line, maxsplit=1)[0]) if word]
        if words:
            yield number, words


def is_number(word: str) -> bool:
    """Whether a word is a real number as tools write it; `nan` and `inf` are refused later, as numbers."""
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word


def table_width(text: str) -> int | None:
    """Columns of a table of numbers, by its first row; one line of words (an address, a heading) may stand before."""
    for _, words in list(data_lines(text[:100_000]))[:2]:
        if all(map(is_number, words)):
            return len(words)
    return None


def number_table(text: str, columns: int, path: Path) -> NDArray[np.float64]:
    """Rows of numbers, (F, columns); one line of words may stand before them.

    Raises:
        UsageError: A row has other columns, or words; its line is named.
    """
    rows: list[list[float]] = []
    for position, (number, words) in enumerate(data_lines(text)):
        numeric = all(map(is_number, words))
        if position == 0 and not numeric:
            continue
        if not numeric or len(words) != columns:
            odd = next((word for word in words if not is_number(word)), None)
            raise UsageError(
                f"line {number} of the poses file is not like the ones before: {path}",
                got=f"{len(words)} columns" if odd is None else short_repr(odd),
                expected=f"{columns} numbers, as in the first row",
                next_step="Look whether the file was cut, or two files were joined.",
            )
        rows.append([float(word) for word in words])
    return np.array(rows, dtype=np.float64).reshape(-1, columns)
