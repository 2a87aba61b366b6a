"""What the program knows of a manifest field besides its type; it stands at the field, in `sana_wm.manifest.model`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PathKind = Literal["input", "weights", "code", "output"]


@dataclass(frozen=True)
class FieldFacts:
    """Facts of one field.

    Attributes:
        steers: What it changes the result of: a stage, `refiner`, or a part that a stage keeps for its next start and
            so itself, `refiner/text`. Empty: it changes how, where or how fast something is made.
        is_work: Whether it changes how long a run takes: runs that agree in all such fields take the same time.
        path: What it names, if it names a file or folder. An input counts by its hash, not by where it lies.
    """

    steers: tuple[str, ...]
    is_work: bool
    path: PathKind | None


def facts(*steers: str, work: bool = False, path: PathKind | None = None) -> FieldFacts:
    """Facts of a field that changes results, in the order of a reader."""
    return FieldFacts(steers, work, path)


def neutral(*, work: bool = False, path: PathKind | None = None) -> FieldFacts:
    """Facts of a field that changes no result."""
    return FieldFacts((), work, path)
