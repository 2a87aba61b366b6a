"""What this package leaves on disk as JSON: frozen, strict objects, parsed once, where they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sana_wm.plain_files import open_plain

#: Wall clock in seconds. The bound (the year 5138) keeps arithmetic on a damaged one finite.
WallClock = Annotated[float, Field(ge=0, lt=1e11)]
#: A span of time in seconds, bounded for the same reason.
Seconds = Annotated[float, Field(ge=0, lt=1e11)]
#: A number of bytes or of steps; a larger one cannot be divided as a float.
Count = Annotated[int, Field(ge=0, lt=2**63)]
#: The largest small record that we write holds an error's message; what is larger is not ours.
MAX_BYTES = 1024**2


class Record(BaseModel):
    """Base of what is trusted: strict and immutable; a key that nobody knows makes it another thing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class OpenRecord(BaseModel):
    """Base of what only tells: strict and immutable; keys of a later version are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


def as_unicode(text: str) -> str:
    """Text that a file of UTF-8 can hold: the bytes of a file's name that are none become question marks."""
    return text.encode(errors="replace").decode()


AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord | None:
    """The record that a small file holds; `None` when the file is not there, is damaged or is something else."""
    try:
        with open_plain(path) as file:
            data = file.read(MAX_BYTES + 1)
        return kind.model_validate_json(data) if len(data) <= MAX_BYTES else None
    except (OSError, ValidationError):
        return None
