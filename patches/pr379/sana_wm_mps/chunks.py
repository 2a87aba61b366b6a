"""How long work is cut: a few frames, rows or heads at a time, so that float32 copies stay small."""

from __future__ import annotations

from collections.abc import Iterator

from sana_wm_mps.settings import SETTINGS


def chunks(length: int, elements_each: int) -> Iterator[slice]:
    """Slices of `range(length)` whose parts have at most `SETTINGS.chunk_elements` elements, or one item each."""
    size = max(1, SETTINGS.chunk_elements // max(1, elements_each))
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
