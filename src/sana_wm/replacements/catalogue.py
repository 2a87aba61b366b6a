"""The patch set: every place where our code computes what a library's code would have computed.

Nothing is edited, and no library class is changed: engines read loaded model objects and run their own arithmetic. That
is only right as long as the library's arithmetic is the one it was written against, so each entry carries a fingerprint
of the source it stands for, and an engine that uses an entry asks for it first.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import textwrap
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar

from sana_wm.errors import LibraryMismatchError
from sana_wm.shipped import PATCHES


@dataclass(frozen=True)
class Patch:
    """One replacement.

    Attributes:
        id: Its name, that of its file.
        library: The library, and the version that it was written against.
        replaces: Symbols (`module:qualified.name`) and the fingerprint of each one's source.
        why: The limit that it avoids, with its source.
        replaced_by: What runs instead (`module:name`).
        proven_by: Tests that hold it equal (`file::test`).
        drop_when: When it can go.
    """

    id: str
    library: str
    replaces: dict[str, str]
    why: str
    replaced_by: list[str]
    proven_by: list[str]
    drop_when: str


Entry = TypeVar("Entry", bound=Patch)


@cache
def load_catalogue() -> dict[str, Patch]:
    """All entries by id."""
    return read_entries("diffusers", Patch)


def read_entries(folder: str, kind: type[Entry]) -> dict[str, Entry]:
    """The TOML files of a folder of `patches/catalogue`, by the id that each gives itself, sorted."""
    patches = [kind(**tomllib.loads(entry.read_text("utf-8"))) for entry in (PATCHES / "catalogue" / folder).iterdir()]
    return {patch.id: patch for patch in sorted(patches, key=lambda patch: patch.id)}


def require(*ids: str) -> None:
    """Make sure that what these entries replace is what they were written against.

    Raises:
        LibraryMismatchError: A library no longer has the symbol, or its source differs.
    """
    for patch in (load_catalogue()[name] for name in ids):
        _verify(patch)


def _verify(patch: Patch) -> None:
    for symbol, expected in patch.replaces.items():
        try:
            found = fingerprint(symbol)
        except (ImportError, AttributeError) as error:
            raise _mismatch(patch, f"{symbol} is gone: {error}") from error
        if found != expected:
            raise _mismatch(patch, f"{symbol} has another source")


def fingerprint(symbol: str) -> str:
    """The first 16 digits of the SHA-256 of a symbol's source.

    Raises:
        ImportError: There is no such module.
        AttributeError: The module has no such name.
    """
    module, _, name = symbol.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(found)))
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _mismatch(patch: Patch, how: str) -> LibraryMismatchError:
    library = patch.library.split()[0]
    return LibraryMismatchError(
        f"patch {patch.id} does not fit the installed {library} {version(library)}",
        got=how,
        expected=patch.library,
        next_step=f"Install {patch.library.replace(' ', '==')}, as constraints.txt has it.",
    )
