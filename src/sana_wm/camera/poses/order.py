"""The order of frames that a file names but does not list in order."""

from __future__ import annotations

import re
from collections.abc import Sequence


def order_by_name(names: Sequence[str]) -> list[int]:
    """Indices that put names into the order of a walk: numbers in them count as numbers, `r_2` before `r_10`."""

    def key(index: int) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", names[index])
        return [(int(part), "") if part.isdigit() and part.isascii() else (-1, part) for part in parts]

    return sorted(range(len(names)), key=key)
