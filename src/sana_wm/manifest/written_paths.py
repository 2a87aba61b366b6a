"""Paths as people write them into a manifest where JSON takes a name as it is: what is meant, in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlsplit

from sana_wm.errors import Problem
from sana_wm.manifest.field_table import path_fields
from sana_wm.manifest.json_text import Json, ManifestText

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,3}|data:")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]")
_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)")
#: A backslash that a shell, or dragging a file into a terminal, puts before a character.
_ESCAPED = re.compile(r"\\([ ()\[\]{}&;'\"!$*?,#])")
_QUOTES = "\"'“”„‘’«»`"


def find_odd_paths(manifest: ManifestText, base: Path) -> list[Problem]:
    """One problem for each path that says something else than a name on this machine.

    Args:
        manifest: As written, before variables are replaced.
        base: Folder of the manifest.
    """
    problems: list[Problem] = []
    for field in path_fields():
        section, _, name = field.rpartition(".")
        holder = manifest.data.get(section) if section else manifest.data
        text = cast("Json", holder).get(name) if isinstance(holder, dict) else None
        if isinstance(text, str) and (found := _what_is_odd(text, base)) is not None:
            what, step = found
            place = manifest.locate(field, text)
            where = f"{text!r} in {place}" if place else repr(text)
            problems.append(Problem(field, what, got=where, expected="a path on this machine", next_step=step))
    return problems


def _what_is_odd(text: str, base: Path) -> tuple[str, str] | None:
    """What a text is in place of a path, and what to write instead."""
    if _WINDOWS.match(text):
        return "a Windows path", "Write where the file lies on this machine."
    if _URL.match(text):
        return _of_url(text)
    return None if _is_there(text, base) else _of_no_name(text)  # odd, and yet a name


def _of_no_name(text: str) -> tuple[str, str] | None:
    if (bare := text.strip().strip(_QUOTES)) != text and bare:
        what = "quotes around a path" if text.strip() != bare else "blanks around a path"
        return what, f'Write "{bare}".'
    if _ESCAPED.search(text):
        bare = _ESCAPED.sub(r"\1", text)
        return "a path with the shell's backslashes", f'Write "{bare}".'
    if found := _VARIABLE.search(text):
        short = "~" if found[1] == "HOME" and found.start() == 0 else f"${{{found[1]}}}"
        return "a variable as a shell writes it", f'Write "{text.replace(found[0], short, 1)}".'
    return None


def _of_url(text: str) -> tuple[str, str]:
    parts = urlsplit(text)
    match parts.scheme.lower():
        case "file":
            return "a file URL, not a path", f'Write "{unquote(parts.path)}".'
        case "data":
            return "a data URL, not a path", "Save what it holds to a file, and write that file's path."
        case "smb" | "afp" | "nfs" | "sftp" | "ssh":
            return "the address of a server, not a path", "Connect the volume, and write its path (/Volumes/…)."
        case _:
            return "a URL, not a path", "Nothing is fetched while a run is made: download it, and write its path."


def _is_there(text: str, base: Path) -> bool:
    try:
        return (base / Path(text).expanduser()).exists()
    except (OSError, ValueError, RuntimeError):
        return False
