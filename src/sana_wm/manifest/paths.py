"""Text that can be a path: what no system could open is refused where the manifest is read, with its field."""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import Annotated

from pydantic import AfterValidator

#: The longest name of a file or folder: bytes on Linux, UTF-16 units on a Mac.
MAX_NAME = 255
#: The longest path in bytes (`PATH_MAX`), less what our own names add to a folder of the manifest's.
MAX_PATH_BYTES = (1024 if sys.platform == "darwin" else 4096) - 128


def why_no_path(text: str) -> str | None:
    """Why no system can have such a path, in words; `None` where one can."""
    if "\0" in text:
        return "holds a NUL character, which no path can"
    longest = max(map(_name_length, PurePath(text).parts), default=0)
    if longest > MAX_NAME:
        return f"holds a name {longest} long, where {MAX_NAME} is the most that a file or folder can have"
    size_bytes = len(text.encode(errors="replace"))
    if size_bytes > MAX_PATH_BYTES:
        return f"is a path of {size_bytes} bytes, where {MAX_PATH_BYTES} is the most that can be worked with"
    return None


def _require_path(text: str) -> str:
    if why := why_no_path(text):
        raise ValueError(why)
    return text


#: A field that names a file or folder.
PathText = Annotated[str, AfterValidator(_require_path)]


def _name_length(name: str) -> int:
    if sys.platform == "darwin":
        return len(name.encode("utf-16-le", "replace")) // 2
    return len(name.encode(errors="replace"))
